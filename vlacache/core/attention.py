"""Attention of some rows over all keys: the fast path, and the side path that reads a few rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vlacache.core.layout import TokenLayout
from vlacache.core.relevance import relevance_scores
from vlacache.core.schedule import row_entropies

#: Row sums of powers of two that are trusted: the largest term is far from both ends of bfloat16's range, also when it
#: is multiplied with a value before the division.
_LEAST_SUM, _LARGEST_SUM = 2.0**-60, 2.0**60
#: Up to so many query rows torch's kernel beats the products, whose fixed cost is the greater one (decision 011).
_FEW_ROWS = 8


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, is_causal: bool) -> Tensor:
    """Scaled dot-product attention, batch 1, by whatever is fastest on the device.

    Args:
        q: [H, n, D]. k, v: [H, N, D]. mask: bool[n, N] (True: attended to), additive [n, N], or None.
        is_causal: only valid for n == N.

    Returns:
        [n, H * D].
    """
    rows, slow_kernel = q.shape[1], needs_products(q.device, q.dtype)
    if slow_kernel and rows > _FEW_ROWS:
        out = _attend_by_products(q, k, v, as_bias(mask, q, rows if is_causal else None))
    else:
        if slow_kernel and rows == 1:
            q = q.repeat(1, 2, 1)  # its way with a single row takes twice as long as that with two
        out = F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask, is_causal=is_causal)[0]
        out = out[:, :rows]
    return out.transpose(0, 1).flatten(1)


def needs_products(device: torch.device, dtype: torch.dtype) -> bool:
    """Two batched products beat ``scaled_dot_product_attention`` but for a few rows: bfloat16 on a CPU.

    There torch's flash kernel takes 2.8 (608 rows) to 2.7 times (96 rows) as long with 608 keys and 8 heads of 32, 3.0
    times with the sizes of a tower (256 keys, 6 heads of 64): one core of an AMD EPYC with AVX512-BF16, torch 2.15.
    The scores are rounded to bfloat16, as in eager attention; the error of a whole call stays what it was.
    """
    return device.type == "cpu" and dtype == torch.bfloat16


def as_bias(mask: Tensor | None, like: Tensor, causal_rows: int | None = None) -> Tensor | None:
    """What the products add to the scores: 0 or -inf, [n, N]; a caller of many layers makes it once.

    Args:
        mask: bool[n, N], additive already, or None. like: of the wanted dtype and device.
        causal_rows: n = N, for the plain triangle in place of ``mask``.
    """
    if causal_rows is not None:
        return like.new_full((causal_rows, causal_rows), float("-inf")).triu_(1)
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(~mask, float("-inf"))


def _attend_by_products(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """[H, n, D], a view of [n, H, D]; ``mask``: additive [n, N] (0 or -inf) or None.

    The weights are powers of two of the scores as they are, divided by their sum behind the second product: torch's
    softmax takes twice as long. Its largest score is taken off only where their sum says that powers left the range.
    """
    keys, scale = k.transpose(1, 2), q.shape[-1] ** -0.5
    added, beta = (q.new_empty(()), 0) if mask is None else (mask, 1)
    weights = torch.baddbmm(added, q, keys, beta=beta, alpha=scale / math.log(2)).exp2_()
    total = weights.sum(dim=-1, keepdim=True)
    least, largest = total.aminmax()
    if not (least >= _LEAST_SUM and largest <= _LARGEST_SUM):
        weights = torch.baddbmm(added, q, keys, beta=beta, alpha=scale).softmax(dim=-1)
        total = torch.ones_like(total)
    out = q.new_empty(q.shape[1], q.shape[0], v.shape[2]).transpose(0, 1)  # as the output projection wants it
    return torch.div(torch.bmm(weights, v), total, out=out)


def attention_rows(q: Tensor, k: Tensor, positions: Tensor | None, *, num_keys: int) -> Tensor:
    """Softmax rows of a few queries, in float32.

    Args:
        q: [..., H, R, D]. k: [..., H, C, D].
        positions: int64[..., R] for causal attention (broadcast over H), None for full attention.
        num_keys: N; the slots from N on are ignored.

    Returns:
        float32[..., H, R, N].
    """
    scores = torch.matmul(q, k.transpose(-1, -2))[..., :num_keys].float().mul_(q.shape[-1] ** -0.5)
    if positions is not None:
        hidden = torch.arange(num_keys, device=k.device) > positions[..., None]
        scores = scores.masked_fill_(hidden, float("-inf"))
    return scores.softmax(dim=-1)


@dataclass(frozen=True, eq=False)
class ReadoutRequest:
    """Which attention a policy wants to see in this call.

    Attributes:
        relevance_layers: layers whose ``relevance_rows`` are averaged into patch scores.
        relevance_rows: int64[R] ascending prompt positions (never vision tokens, so always computed).
        entropy_layers: layers whose mean row entropy is wanted.
        entropy_rows: at most so many evenly spaced computed rows; None for all (exact).
    """

    relevance_layers: frozenset[int]
    relevance_rows: Tensor
    entropy_layers: frozenset[int]
    entropy_rows: int | None


@dataclass(frozen=True, eq=False)
class ReadoutRows:
    """Where a segment's computed rows hold the rows to read.

    Attributes:
        entropy, relevance: int64 indices into the segment's rows.
        entropy_positions: int64 prompt positions of the former.
    """

    entropy: Tensor
    relevance: Tensor
    entropy_positions: Tensor


class Readout:
    """Side attention of one prefill: query rows are put aside layer by layer and scored together at the end.

    Scoring all layers in one batched product costs a fraction of doing it layer by layer, and K are still in the
    cache when the prefill is over.
    """

    def __init__(self, request: ReadoutRequest, layout: TokenLayout, *, causal: bool) -> None:
        self.request = request
        self._layout = layout
        self._causal = causal
        self._entropy_queries: dict[int, tuple[Tensor, Tensor]] = {}
        self._relevance_queries: dict[int, Tensor] = {}
        self.scores: Tensor | None = None
        self.entropies: Tensor | None = None

    def rows(self, positions: Tensor) -> ReadoutRows:
        """The rows to read in a segment that computes ``positions`` (int64[n], ascending)."""
        relevance = torch.searchsorted(positions, self.request.relevance_rows)
        if not self.request.entropy_layers:
            nothing = positions[:0]
            return ReadoutRows(nothing, relevance, nothing)
        index = torch.arange(positions.numel(), device=positions.device)
        entropy = sample_rows(index, self.request.entropy_rows)
        return ReadoutRows(entropy, relevance, positions[entropy])

    @property
    def reads_all_rows(self) -> bool:
        """Exact entropies: the number of rows read differs from call to call."""
        return bool(self.request.entropy_layers) and self.request.entropy_rows is None

    def wants(self, layer: int) -> bool:
        """The layer takes part."""
        return layer in self.request.entropy_layers or layer in self.request.relevance_layers

    def keep(self, layer: int, rows: ReadoutRows, queries: Callable[[Tensor], Tensor]) -> None:
        """Put this layer's query rows aside; ``queries(index)`` gives rotated rows [r, H, D] of the segment."""
        if layer in self.request.entropy_layers:
            self._entropy_queries[layer] = (queries(rows.entropy), rows.entropy_positions)
        if layer in self.request.relevance_layers:
            self._relevance_queries[layer] = queries(rows.relevance)

    def adopt(self, layer: int, rows: ReadoutRows, entropy: Tensor | None, relevance: Tensor | None) -> None:
        """Take over rows that a captured graph put aside: ``entropy`` and ``relevance`` [r, H, D] where wanted."""
        if entropy is not None:
            self._entropy_queries[layer] = (entropy, rows.entropy_positions)
        if relevance is not None:
            self._relevance_queries[layer] = relevance

    def score(self, keys: Tensor) -> None:
        """Turn the rows put aside into ``scores`` float32[P] and ``entropies``, one per entropy layer.

        Args:
            keys: [L, H, C, D] the whole key buffer of this prefill; only the first N slots count. It is taken whole
                because a product with a strided view of it costs several times more.
        """
        if self._relevance_queries:
            layers = list(self._relevance_queries)
            rows = self.request.relevance_rows if self._causal else None
            attention = [self._attention(self._relevance_queries[layer], keys[layer], rows) for layer in layers]
            self.scores = torch.stack([relevance_scores(a, self._layout) for a in attention]).mean(dim=0)
        if self._entropy_queries:
            self.entropies = self._score_entropies(keys)

    def _attention(self, q: Tensor, keys: Tensor, positions: Tensor | None) -> Tensor:
        return attention_rows(q.transpose(-3, -2), keys, positions, num_keys=self._layout.num_tokens)

    def _score_entropies(self, keys: Tensor) -> Tensor:
        layers = sorted(self._entropy_queries)
        queries, positions = zip(*(self._entropy_queries[layer] for layer in layers), strict=True)
        if len({q.shape for q in queries}) == 1 and self.request.entropy_rows is not None:
            stacked = torch.stack(positions)[:, None] if self._causal else None
            wanted = keys if len(layers) == keys.shape[0] else keys[layers]  # as a rule all: a view, not a copy
            means = row_entropies(self._attention(torch.stack(queries), wanted, stacked)).mean(dim=-1)
        else:
            # Exact mode: all rows of all layers at once would not fit; layers have different numbers of rows.
            rows = positions if self._causal else [None] * len(layers)
            means = torch.stack(
                [
                    row_entropies(self._attention(q, keys[layer], r)).mean()
                    for q, layer, r in zip(queries, layers, rows, strict=True)
                ]
            )
        return means


def sample_rows(rows: Tensor, count: int | None) -> Tensor:
    """``count`` evenly spaced entries of ``rows`` (all of them when None or when there are no more)."""
    n = rows.numel()
    if count is None or n <= count:
        return rows
    # Midpoints of `count` equal bins: unbiased along the prompt, no random numbers.
    return rows[torch.arange(count, device=rows.device) * n // count + n // (2 * count)]
