"""A Llama decoder that computes only the rows a ``CacheDecision`` asks for.

Three ways through the same weights: ``forward`` (dense, batched: training and the reference in tests), ``prefill``
(batch 1, any row sets, K/V by position) and ``decode_step`` (one token).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlacache.core.attention import Readout, ReadoutRows, attend
from vlacache.core.context_shift import ContextShift
from vlacache.core.decision import Segment, causal_mask
from vlacache.core.kv_cache import KVCache
from vlacache.core.rope import rope_table, rotate, rotate_
from vlacache.models.config import DecoderConfig
from vlacache.models.row_state import RowState, with_bias


class RMSNorm(nn.Module):
    """Root-mean-square norm; the variance is taken in float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> same."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class DecoderLayer(nn.Module):
    """Pre-norm attention and gated MLP, no biases. q, k, v and gate, up are fused: one GEMM each."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        d = config.hidden_size
        self.num_heads = config.num_heads
        self.head_dim = d // config.num_heads
        self.input_norm = RMSNorm(d, config.rms_eps)
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        self.mlp_norm = RMSNorm(d, config.rms_eps)
        self.gate_up = nn.Linear(d, 2 * config.intermediate_size, bias=False)
        self.down = nn.Linear(config.intermediate_size, d, bias=False)

    def project(self, normed: Tensor, first: int, stop: int) -> Tensor:
        """Parts ``first .. stop - 1`` of (q, k, v): [..., n, d] -> [..., n, parts, H, D]."""
        d = self.num_heads * self.head_dim
        projected = F.linear(normed, self.qkv.weight[first * d : stop * d])
        return projected.unflatten(-1, (stop - first, self.num_heads, self.head_dim))

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Output projection, residual and MLP: x, attended [..., n, d] -> [..., n, d]."""
        x = x + self.out(attended)
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, *, causal: bool) -> Tensor:
        """Dense and batched: x [B, N, d]; cos, sin [N, 1, D]."""
        qkv = self.project(self.input_norm(x), 0, 3)
        q, k = rotate(qkv[..., 0, :, :], cos, sin), rotate(qkv[..., 1, :, :], cos, sin)
        q, k, v = (t.transpose(-3, -2) for t in (q, k, qkv[..., 2, :, :]))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.finish(x, attended.transpose(-3, -2).flatten(-2))


class QueryKeeper(Protocol):
    """Takes query rows out of a pass for the side readout."""

    def keep(self, layer: int, rows: ReadoutRows | None, queries: Callable[[Tensor], Tensor]) -> None:
        """Put aside the rows of ``layer`` that are wanted; ``queries(index)`` gives rotated rows [r, H, D]."""
        ...


@dataclass(frozen=True, slots=True)
class PrefillCall:
    """What one prefill works with besides its rows.

    Attributes:
        kv: holds the last call's K/V; overwritten at the computed positions.
        causal: causal or full attention.
        readout: collects side attention, or None.
        aside: wraps the readout's work, so that it can be timed apart.
        num_drafts: rows at the end that are no prompt (speculative decoding); the readout does not see them.
        shift: moves reused K/V along with the context, or None.
    """

    kv: KVCache
    causal: bool
    readout: Readout | None = None
    aside: Callable[[], AbstractContextManager[object]] = nullcontext
    num_drafts: int = 0
    shift: ContextShift | None = None

    def keep(self, layer: int, rows: ReadoutRows | None, queries: Callable[[Tensor], Tensor]) -> None:
        """Put aside the query rows that the readout wants of this layer, if any."""
        if self.readout is not None and rows is not None and self.readout.wants(layer):
            with self.aside():
                self.readout.keep(layer, rows, queries)

    def rows_to_read(self, positions: Tensor) -> ReadoutRows | None:
        """Where the rows to read are among computed ``positions`` (int64[n] ascending, drafts last, no padding)."""
        if self.readout is None:
            return None
        with self.aside():
            return self.readout.rows(positions[: positions.numel() - self.num_drafts])

    def score(self) -> None:
        """Turn what was put aside into relevance and entropies; K are complete now."""
        if self.readout is not None:
            with self.aside():
                self.readout.score(self.kv.k)


class Decoder(nn.Module):
    """The stack. RoPE tables grow on demand and live on the weights' device."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_eps)
        self._rope: tuple[Tensor, Tensor] | None = None

    def rope(self, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """cos, sin [>= length, 1, D] in the dtype and on the device of ``like``."""
        table = self._rope
        if (
            table is None
            or table[0].shape[0] < length
            or table[0].dtype != like.dtype
            or table[0].device != like.device
        ):
            # Not as inference tensors: training may come after inference in the same process.
            with torch.inference_mode(mode=False):
                cos, sin = rope_table(length, self.config.shape.head_dim, self.config.rope_theta, like.device)
                table = self._rope = (cos[:, None].to(like.dtype), sin[:, None].to(like.dtype))
        return table

    def forward(self, embeds: Tensor, *, causal: bool) -> Tensor:
        """Dense pass over [B, N, d] -> final-norm hidden states [B, N, d]. Used for training and as reference."""
        n = embeds.shape[1]
        cos, sin = (table[:n] for table in self.rope(n, embeds))
        x = embeds
        for layer in self.layers:
            x = layer(x, cos, sin, causal=causal)
        return self.norm(x)

    def prefill(self, embeds: Tensor, segments: list[Segment], head_rows: Tensor, call: PrefillCall) -> Tensor:
        """Run one prompt, computing only each segment's rows; the other rows' K/V are read from ``call.kv``.

        Args:
            embeds: [N, d] prompt embeddings, drafts included (rows that are never computed may hold anything).
            segments: from ``plan_segments``; together they cover all layers.
            head_rows: int64[h] ascending positions whose final hidden states are wanted; always computed. The last
                layer computes queries and MLP for them alone.
            call: K/V storage and side readout of this call.

        Returns:
            [h, d] final-norm hidden states.
        """
        state = self.all_rows(embeds, call)
        last = self.config.num_layers - 1
        for segment in segments:
            state = with_bias(self.enter(state, segment, call))
            stop = min(segment.stop_layer, last)
            state = replace(state, x=self.run_layers(state, segment.first_layer, stop, call.kv, call))
        head_at = torch.searchsorted(state.rows, head_rows)
        hidden = self.last_layer(state, head_at, head_rows, call.kv, call, causal=call.causal)
        call.score()
        return hidden

    def all_rows(self, embeds: Tensor, call: PrefillCall) -> RowState:
        """Every row of the prompt, before the first layer."""
        n = embeds.shape[0]
        cos, sin = (table[:n] for table in self.rope(call.kv.capacity, embeds))
        rows = torch.arange(n, device=embeds.device)
        return RowState(embeds, cos, sin, rows, None, n, None, call.causal, call.rows_to_read(rows))

    def enter(self, state: RowState, segment: Segment, call: PrefillCall) -> RowState:
        """The state with the segment's rows alone; unchanged where nothing left."""
        if segment.rows is None or segment.keep is None:
            return state
        tables = self.rope(call.kv.capacity, state.x)
        cos, sin = (table.index_select(0, segment.rows) for table in tables)
        rows = segment.rows[: segment.num_rows]
        read = call.rows_to_read(rows)
        x = state.x.index_select(0, segment.keep)
        shift = None if call.shift is None else call.shift.at(segment.first_layer, *tables)
        return RowState(x, cos, sin, rows, segment.slots, state.num_keys, segment.mask, False, read, shift)

    def run_layers(self, state: RowState, first: int, stop: int, kv: KVCache, keeper: QueryKeeper) -> Tensor:
        """Layers ``first .. stop - 1`` (never the last one) on the same rows: [b, d]."""
        for index in range(first, stop):
            state = replace(state, x=self._inner_layer(index, state, kv, keeper))
        return state.x

    def _inner_layer(self, index: int, state: RowState, kv: KVCache, keeper: QueryKeeper) -> Tensor:
        layer: DecoderLayer = self.layers[index]  # type: ignore[assignment]
        qkv = layer.project(layer.input_norm(state.x), 0, 3)
        rotate_(qkv[:, :2], state.cos[:, None], state.sin[:, None])  # both at once: five launches, not ten
        q = qkv[:, 0]
        _store(kv, index, state, qkv[:, 1:])
        keys, values = kv.read(index, state.num_keys)
        keeper.keep(index, state.read, lambda at: q.index_select(0, at))
        return layer.finish(state.x, attend(q.transpose(0, 1), keys, values, state.mask, is_causal=state.is_causal))

    def last_layer(
        self, state: RowState, head_at: Tensor, head_rows: Tensor, kv: KVCache, keeper: QueryKeeper, *, causal: bool
    ) -> Tensor:
        """The last layer and norm: K/V of every row, but queries and MLP only of the rows that the head reads.

        Args:
            head_at: int64[h] indices of ``head_rows`` (positions) in the state.

        Returns:
            [h, d].
        """
        index = self.config.num_layers - 1
        layer: DecoderLayer = self.layers[index]  # type: ignore[assignment]
        normed = layer.input_norm(state.x)
        projected = layer.project(normed, 1, 3)
        rotate_(projected[:, 0], state.cos, state.sin)
        _store(kv, index, state, projected)
        keys, values = kv.read(index, state.num_keys)
        keeper.keep(index, state.read, lambda at: self._queries(layer, normed, state, at))
        mask = causal_mask(head_rows, state.num_keys) if causal else None
        q = self._queries(layer, normed, state, head_at).transpose(0, 1)
        x = state.x.index_select(0, head_at)
        return self.norm(layer.finish(x, attend(q, keys, values, mask, is_causal=False)))

    @staticmethod
    def _queries(layer: DecoderLayer, normed: Tensor, state: RowState, at: Tensor) -> Tensor:
        """Rotated queries [r, H, D] of some of the computed rows, ``at`` their indices."""
        normed, cos, sin = (rows.index_select(0, at) for rows in (normed, state.cos, state.sin))
        return rotate(layer.project(normed, 0, 1)[:, 0], cos, sin)

    def decode_step(self, embed: Tensor, position: int, kv: KVCache) -> Tensor:
        """One more token after the prompt.

        Args:
            embed: [1, d]. position: its prompt position; slots before it are read, its own is written.

        Returns:
            [1, d] final-norm hidden state.
        """
        cos, sin = (table[position : position + 1] for table in self.rope(kv.capacity, embed))
        x = embed
        for index, layer in enumerate(self.layers):
            qkv = layer.project(layer.input_norm(x), 0, 3)  # type: ignore[operator]
            rotate_(qkv[:, :2], cos[:, None], sin[:, None])
            kv.write(index, None, qkv[:, 1:], start=position)
            keys, values = kv.read(index, position + 1)
            q = qkv[:, 0].transpose(0, 1)
            x = layer.finish(x, attend(q, keys, values, None, is_causal=False))  # type: ignore[operator]
        return self.norm(x)


def _store(kv: KVCache, layer: int, state: RowState, computed: Tensor) -> None:
    """Write computed K/V [b, 2, H, D] to their slots, and move those that are reused along with the context.

    Not in the first layer: state, text and actions are not mixed in yet, and moving them there changed no error.
    """
    if state.shift is None or layer == 0:
        kv.write(layer, state.slots, computed)
        return
    before = state.shift.read(kv, layer)
    kv.write(layer, state.slots, computed)
    state.shift.carry(kv, layer, before)
