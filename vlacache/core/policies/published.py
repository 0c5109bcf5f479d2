"""The two published definitions of VLA-Cache: the paper's rule and the released code's rule. They differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from vlacache.core.decision import CacheDecision
from vlacache.core.layout import TokenLayout, scale_layers
from vlacache.core.policies.base import (
    CacheState,
    ReadoutNumbers,
    RelevantPolicy,
    check_range,
    rank_by_order,
    rank_by_similarity,
    relevant_patches,
    share_counts,
    static_patches,
    to_device,
    young_enough,
)
from vlacache.core.relevance import above_threshold_per_view
from vlacache.core.schedule import cumulative_relative_drop, minmax_growth


def measured_entropies(state: CacheState) -> Tensor:
    """The entropies of the last call, or a clear error."""
    if state.entropies is None:
        raise RuntimeError("schedule: no entropies were read before this call; the session must run a dense call first")
    return state.entropies


@dataclass(frozen=True, kw_only=True)
class PaperVLACache(RelevantPolicy):
    """arXiv 2502.02175v2: threshold relevance, share per layer from the cumulative relative entropy drop.

    Attributes:
        tau: cosine threshold against the frame of the last call. top_k: static patches a view (of 256).
        relevance_threshold: on scores min-max normalised inside a view (see ``above_threshold_per_view``).
        schedule_scale: the paper's k'; not published, 1.0 here.
        entropy_rows: query rows read per layer, None for all.
    """

    name: ClassVar[str] = "paper"
    needs_entropy: ClassVar[bool] = True
    tau: float = 0.996
    top_k: int = 100
    relevance_threshold: float = 0.5
    schedule: Literal["cumulative_relative_drop"] = "cumulative_relative_drop"
    schedule_scale: float = 1.0
    entropy_rows: int | None = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self.name, "tau", self.tau, low=-1.0, high=1.0)
        check_range(self.name, "top_k", self.top_k, low=0, high=256)
        check_range(self.name, "relevance_threshold", self.relevance_threshold, low=0.0, high=1.0)
        check_range(self.name, "schedule_scale", self.schedule_scale, low=0.0)
        check_range(self.name, "entropy_rows", self.entropy_rows, low=1)

    @property
    def readout(self) -> ReadoutNumbers:
        return ReadoutNumbers(self.entropy_rows)

    def decide(self, state: CacheState) -> CacheDecision:
        if state.scores is None:
            raise RuntimeError("paper: no relevance was read before this call; the session must run a dense call first")
        static = static_patches(state, self.tau, self.top_k)
        relevant = above_threshold_per_view(state.scores, self.relevance_threshold, state.layout)
        ranked = rank_by_similarity(static & ~relevant & young_enough(state, self.max_age), state.similarity)
        shares = cumulative_relative_drop(measured_entropies(state), self.schedule_scale)
        counts = share_counts(shares, ranked.count)
        return CacheDecision.from_ranking(
            ranked.order, counts, static=static, relevant=relevant, similarity=state.similarity
        )

    def resolve(self, layout: TokenLayout, num_layers: int) -> dict[str, Any]:
        return {**super().resolve(layout, num_layers), "resolved_top_k": layout.scale_count(self.top_k)}


@dataclass(frozen=True, kw_only=True)
class OfficialVLACache(RelevantPolicy):
    """The released code (siyuhsu/vla-cache a490988): raster-order prefix, dropped at four layers only.

    Kept as it is, warts included: the reusable list is in raster order, so a share below 1 reuses the top rows of the
    first view; at least one patch is dropped; no age limit. Offsets come from the layout instead of literals.

    Attributes:
        tau: cosine threshold against the frame of the last call.
        top_k, task_top_k: static and relevant patches of 256 with one view (OpenVLA script).
        top_k_multiview, task_top_k_multiview: the same per view with several (OFT script).
        layers: where tokens may leave. growth: damping of upward steps of the schedule.
        entropy_rows: query rows read per layer; the released code reads all (null).
    """

    name: ClassVar[str] = "official"
    needs_entropy: ClassVar[bool] = True
    tau: float = 0.996
    top_k: int = 130
    task_top_k: int = 120
    top_k_multiview: int = 150
    task_top_k_multiview: int = 100
    layers: tuple[int, ...] = (2, 6, 9, 11)
    schedule: Literal["minmax_growth"] = "minmax_growth"
    growth: float = 0.55
    entropy_rows: int | None = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "layers", tuple(self.layers))
        for key in ("top_k", "task_top_k", "top_k_multiview", "task_top_k_multiview"):
            check_range(self.name, key, getattr(self, key), low=0, high=256)
        check_range(self.name, "tau", self.tau, low=-1.0, high=1.0)
        check_range(self.name, "growth", self.growth, low=0.0, high=1.0)
        check_range(self.name, "entropy_rows", self.entropy_rows, low=1)
        if not self.layers:
            raise ValueError("cache.layers: expected at least one layer index of 32, got none (cache=official)")
        for layer in self.layers:
            check_range(self.name, "layers", layer, low=0, high=31)

    def top_ks(self, layout: TokenLayout) -> tuple[int, int]:
        """(static, relevant) patches of 256, by the number of views."""
        if len(layout.views) == 1:
            return self.top_k, self.task_top_k
        return self.top_k_multiview, self.task_top_k_multiview

    @property
    def readout(self) -> ReadoutNumbers:
        return ReadoutNumbers(self.entropy_rows)

    def decide(self, state: CacheState) -> CacheDecision:
        top_k, task_top_k = self.top_ks(state.layout)
        static = static_patches(state, self.tau, top_k)
        relevant = relevant_patches(state, task_top_k)
        patches = torch.arange(static.numel(), device=static.device)
        raster = rank_by_order(static & ~relevant & young_enough(state, self.max_age), patches)
        counts = self.counts(minmax_growth(measured_entropies(state), self.growth), raster.count)
        return CacheDecision.from_ranking(
            raster.order, counts, static=static, relevant=relevant, similarity=state.similarity
        )

    def counts(self, shares: Tensor, num_candidates: Tensor) -> Tensor:
        """Reused tokens at each layer: ``max(1, int(p * R))`` at the drop layers, never falling, held in between.

        Args:
            shares: float32[L] in [0, 1] on the CPU. num_candidates: int64[] R.

        Returns:
            int64[L] on the device of ``num_candidates``.
        """
        marked = torch.full_like(shares, -1.0)  # no drop layer
        at = list(scale_layers(self.layers, shares.numel()))
        marked[at] = shares[at]
        marked = to_device(marked, num_candidates.device)
        wanted = torch.minimum((marked.double() * num_candidates).long().clamp_min(1), num_candidates)
        return torch.where(marked >= 0, wanted, 0).cummax(dim=0).values

    def resolve(self, layout: TokenLayout, num_layers: int) -> dict[str, Any]:
        top_k, task_top_k = self.top_ks(layout)
        return {
            **super().resolve(layout, num_layers),
            "resolved_top_k": layout.scale_count(top_k),
            "resolved_task_top_k": layout.scale_count(task_top_k),
            "resolved_layers": list(scale_layers(self.layers, num_layers)),
        }
