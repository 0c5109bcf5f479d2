"""A Llama decoder that computes only the rows a ``CacheDecision`` asks for.

Three ways through the same weights: ``forward`` (dense, batched: training and the reference in tests), ``prefill``
(batch 1, any row sets, K/V by position) and ``decode_step`` (one token).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlacache.core.attention import Readout, ReadoutRows, attend
from vlacache.core.decision import Segment, causal_mask
from vlacache.core.kv_cache import KVCache
from vlacache.models.config import DecoderConfig


class RMSNorm(nn.Module):
    """Root-mean-square norm; the variance is taken in float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> same."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rope_table(length: int, head_dim: int, theta: float, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """cos and sin, float32[length, head_dim], for the rotate-halves layout (second half repeats the first)."""
    frequency = theta ** (-torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(length, device=device, dtype=torch.float32), frequency)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply RoPE: x [..., n, h, D], cos and sin [n, 1, D]."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


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


@dataclass(frozen=True, slots=True)
class PrefillCall:
    """What one prefill works with besides its rows.

    Attributes:
        kv: holds the last call's K/V; overwritten at the computed positions.
        causal: causal or full attention.
        readout: collects side attention, or None.
        aside: wraps the readout's work, so that it can be timed apart.
    """

    kv: KVCache
    causal: bool
    readout: Readout | None = None
    aside: Callable[[], AbstractContextManager[object]] = nullcontext

    def keep(self, layer: int, rows: ReadoutRows | None, queries: Callable[[Tensor], Tensor]) -> None:
        """Put aside the query rows that the readout wants of this layer, if any."""
        if self.readout is not None and rows is not None and self.readout.wants(layer):
            with self.aside():
                self.readout.keep(layer, rows, queries)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows in the residual stream: x [n, d], their positions, RoPE tables [n, 1, D] and attention mask."""

    x: Tensor
    rows: Tensor
    cos: Tensor
    sin: Tensor
    mask: Tensor | None
    is_causal: bool
    read: ReadoutRows | None = None


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
            embeds: [N, d] prompt embeddings (rows that are never computed may hold anything).
            segments: from ``plan_segments``; together they cover all layers.
            head_rows: int64[h] ascending positions whose final hidden states are wanted; always computed. The last
                layer computes queries and MLP for them alone.
            call: K/V storage and side readout of this call.

        Returns:
            [h, d] final-norm hidden states.
        """
        n = embeds.shape[0]
        cos_all, sin_all = (table[:n] for table in self.rope(call.kv.capacity, embeds))
        state = _Rows(embeds, torch.arange(n, device=embeds.device), cos_all, sin_all, None, call.causal)
        last = self.config.num_layers - 1
        for segment in segments:
            if segment.keep is not None and segment.rows is not None:
                rows = segment.rows
                state = _Rows(state.x[segment.keep], rows, cos_all[rows], sin_all[rows], segment.mask, False)
            if call.readout is not None:
                with call.aside():
                    state = replace(state, read=call.readout.rows(state.rows))
            for index in range(segment.first_layer, segment.stop_layer):
                if index == last:
                    x = self._last_layer(state, segment.rows, head_rows, n, call)
                else:
                    x = self._inner_layer(index, state, segment.rows, n, call)
                state = replace(state, x=x)
        hidden = self.norm(state.x)
        if call.readout is not None:
            with call.aside():
                call.readout.score(call.kv.k)
        return hidden

    def _inner_layer(self, index: int, state: _Rows, written: Tensor | None, n: int, call: PrefillCall) -> Tensor:
        layer: DecoderLayer = self.layers[index]  # type: ignore[assignment]
        qkv = layer.project(layer.input_norm(state.x), 0, 3)
        q = rotate(qkv[:, 0], state.cos, state.sin)
        k = rotate(qkv[:, 1], state.cos, state.sin).transpose(0, 1)
        call.kv.write(index, written, k, qkv[:, 2].transpose(0, 1))
        keys, values = call.kv.read(index, n)
        call.keep(index, state.read, lambda at: q[at])
        return layer.finish(state.x, attend(q.transpose(0, 1), keys, values, state.mask, is_causal=state.is_causal))

    def _last_layer(self, state: _Rows, written: Tensor | None, head_rows: Tensor, n: int, call: PrefillCall) -> Tensor:
        """K/V of every computed row, but queries and MLP only of the rows that the head reads."""
        index = self.config.num_layers - 1
        layer: DecoderLayer = self.layers[index]  # type: ignore[assignment]
        normed = layer.input_norm(state.x)
        kv = layer.project(normed, 1, 3)
        call.kv.write(index, written, rotate(kv[:, 0], state.cos, state.sin).transpose(0, 1), kv[:, 1].transpose(0, 1))
        keys, values = call.kv.read(index, n)
        call.keep(index, state.read, lambda at: self._queries(layer, normed, state, at))
        local = torch.searchsorted(state.rows, head_rows)
        mask = causal_mask(head_rows, n) if call.causal else None
        q = self._queries(layer, normed, state, local).transpose(0, 1)
        attended = attend(q, keys, values, mask, is_causal=False)
        return layer.finish(state.x[local], attended)

    @staticmethod
    def _queries(layer: DecoderLayer, normed: Tensor, state: _Rows, at: Tensor) -> Tensor:
        """Rotated queries [r, H, D] of some of the computed rows, ``at`` their indices."""
        return rotate(layer.project(normed[at], 0, 1)[:, 0], state.cos[at], state.sin[at])

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
            q, k = rotate(qkv[:, 0], cos, sin), rotate(qkv[:, 1], cos, sin)
            kv.write(index, None, k.transpose(0, 1), qkv[:, 2].transpose(0, 1), start=position)
            keys, values = kv.read(index, position + 1)
            x = layer.finish(x, attend(q.transpose(0, 1), keys, values, None, is_causal=False))  # type: ignore[operator]
        return self.norm(x)
