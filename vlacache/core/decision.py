"""What to recompute in one policy call, and the row sets that carry it out."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vlacache.core.layout import TokenLayout


@dataclass(frozen=True, eq=False)
class CacheDecision:
    """For every vision token the first layer at which its K/V are read from the cache.

    A token leaves the residual stream once and does not come back, and tokens outside the vision spans are always
    computed: this form cannot express anything else (docs/decisions/004-leave-layer.md).

    Attributes:
        leave_layer: int64[P] in 0 .. L; L means computed in every layer.
        num_layers: L.
        static: bool[P] patches that passed the similarity test.
        relevant: bool[P] patches kept because the task looks at them.
        similarity: float32[P] or None on a dense call.
        reason: why nothing is reused (``InferenceStats.fallback``), or None.
    """

    leave_layer: Tensor
    num_layers: int
    static: Tensor
    relevant: Tensor
    similarity: Tensor | None = None
    reason: str | None = None

    @classmethod
    @functools.lru_cache(maxsize=64)
    def dense(
        cls, layout: TokenLayout, num_layers: int, reason: str, device: torch.device | None = None
    ) -> CacheDecision:
        """Compute everything, for the given reason. Remembered: the dense arm must not pay for a decision."""
        none = torch.zeros(layout.num_patches, dtype=torch.bool, device=device)
        leave = torch.full((layout.num_patches,), num_layers, dtype=torch.int64, device=device)
        return cls(leave, num_layers, none, none, None, reason)

    @classmethod
    def from_ranking(
        cls,
        ranked: Tensor,
        counts: Sequence[int] | Tensor,
        *,
        static: Tensor,
        relevant: Tensor,
        similarity: Tensor | None,
    ) -> CacheDecision:
        """At layer l the first ``counts[l]`` patches of ``ranked`` are reused.

        Args:
            ranked: int64[R] patch indices, first to leave first, without repeats.
            counts: L non-decreasing counts in 0 .. R.

        Raises:
            ValueError: ``counts`` falls somewhere or exceeds R.
        """
        steps = torch.as_tensor(counts, dtype=torch.int64, device=ranked.device)
        if bool((steps[1:] < steps[:-1]).any()) or int(steps[0]) < 0 or int(steps[-1]) > ranked.numel():
            raise ValueError(f"counts: expected non-decreasing numbers in 0..{ranked.numel()}, got {steps.tolist()}")
        num_layers = steps.numel()
        leave = torch.full((static.numel(),), num_layers, dtype=torch.int64, device=ranked.device)
        # The first layer whose count exceeds a patch's rank is where that patch leaves.
        leave[ranked] = torch.searchsorted(steps, torch.arange(ranked.numel(), device=ranked.device), right=True)
        return cls(leave, num_layers, static, relevant, similarity)

    @cached_property
    def num_reused(self) -> list[int]:
        """Reused vision tokens at each of the L layers."""
        left = torch.bincount(self.leave_layer, minlength=self.num_layers + 1)[: self.num_layers]
        return [int(n) for n in torch.cumsum(left, 0).tolist()]

    @property
    def is_dense(self) -> bool:
        """Nothing is reused in any layer."""
        return self.num_reused[-1] == 0

    @property
    def reuse_ratio(self) -> float:
        """Reused (layer, vision token) pairs / all such pairs."""
        return sum(self.num_reused) / (self.num_layers * self.leave_layer.numel())

    def reuse_mask(self, layout: TokenLayout) -> Tensor:
        """bool[L, N]: True where layer l reads the K/V of position n from the cache."""
        mask = torch.zeros(self.num_layers, layout.num_tokens, dtype=torch.bool, device=self.leave_layer.device)
        layers = torch.arange(self.num_layers, device=self.leave_layer.device)
        mask[:, layout.vision] = layers[:, None] >= self.leave_layer[None, :]
        return mask

    def reused_layers(self) -> Tensor:
        """uint8[P]: number of layers in which each patch is reused."""
        return (self.num_layers - self.leave_layer).to(torch.uint8)


@dataclass(frozen=True, eq=False)
class Segment:
    """Consecutive layers that compute the same rows.

    Attributes:
        first_layer, stop_layer: half-open layer range.
        rows: int64[n] ascending prompt positions that are computed, or None for all N.
        keep: int64[n] where those rows are among the previous segment's rows; None when nothing left.
        mask: bool[n, N], True where a row may look; None when every row sees every key or ``is_causal`` says it.
    """

    first_layer: int
    stop_layer: int
    rows: Tensor | None
    keep: Tensor | None
    mask: Tensor | None


def causal_mask(rows: Tensor, num_tokens: int) -> Tensor:
    """bool[n, N]: key position <= query position. Right for any set of rows, contiguous or not."""
    return torch.arange(num_tokens, device=rows.device)[None, :] <= rows[:, None]


def plan_segments(decision: CacheDecision, layout: TokenLayout, *, causal: bool) -> list[Segment]:
    """The row sets of a decision, one segment per distinct set.

    Masks come from absolute positions, because SDPA's ``is_causal`` aligns the triangle by row index and would be
    wrong as soon as a row is missing.
    """
    if decision.is_dense:
        return [Segment(0, decision.num_layers, None, None, None)]
    reused = decision.num_reused
    starts = [0] + [layer for layer in range(1, decision.num_layers) if reused[layer] != reused[layer - 1]]
    stops = [*starts[1:], decision.num_layers]
    segments: list[Segment] = []
    alive = torch.arange(layout.num_tokens, device=decision.leave_layer.device)
    for start, stop in zip(starts, stops, strict=True):
        if reused[start] == 0:
            segments.append(Segment(start, stop, None, None, None))
            continue
        leave = torch.full((layout.num_tokens,), decision.num_layers, device=alive.device)
        leave[layout.vision] = decision.leave_layer
        keep = torch.nonzero(leave[alive] > start).flatten()
        alive = alive[keep]
        segments.append(Segment(start, stop, alive, keep, causal_mask(alive, layout.num_tokens) if causal else None))
    return segments
