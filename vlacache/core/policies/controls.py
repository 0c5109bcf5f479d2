"""Controls: no cache, static patches alone, static minus task-relevant, a fixed share, a random share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from vlacache.core.decision import CacheDecision
from vlacache.core.layout import TokenLayout, scale_layer
from vlacache.core.policies.base import (
    CachePolicy,
    CacheState,
    Ranking,
    RelevantPolicy,
    ReusePolicy,
    check_range,
    rank_by_order,
    rank_by_similarity,
    relevant_patches,
    static_patches,
    step_counts,
    to_device,
    young_enough,
)


@dataclass(frozen=True, kw_only=True)
class NoCache(CachePolicy):
    """The fastest dense path: nothing is compared, read or reused. Takes no numbers."""

    name: ClassVar[str] = "none"
    needs_similarity: ClassVar[bool] = False

    def decide(self, state: CacheState) -> CacheDecision:
        return CacheDecision.dense(state.layout, state.num_layers, "policy_none", state.similarity.device)


@dataclass(frozen=True, kw_only=True)
class Static(ReusePolicy):
    """Every patch that looks the same as in the last call is reused from ``first_layer`` on, relevant or not.

    Attributes:
        tau: cosine threshold. top_k: at most so many patches a view (of 256). first_layer: index of 32.
    """

    name: ClassVar[str] = "static"
    tau: float = 0.996
    top_k: int = 150
    first_layer: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self.name, "tau", self.tau, low=-1.0, high=1.0)
        check_range(self.name, "top_k", self.top_k, low=0, high=256)
        check_range(self.name, "first_layer", self.first_layer, low=0, high=31)

    def decide(self, state: CacheState) -> CacheDecision:
        static = static_patches(state, self.tau, self.top_k)
        return self._reuse(state, static, torch.zeros_like(static))

    def _reuse(self, state: CacheState, static: torch.Tensor, relevant: torch.Tensor) -> CacheDecision:
        ranked = rank_by_similarity(static & ~relevant & young_enough(state, self.max_age), state.similarity)
        first = scale_layer(self.first_layer, state.num_layers)
        counts = step_counts(ranked.count, first, state.num_layers)
        return CacheDecision.from_ranking(
            ranked.order, counts, static=static, relevant=relevant, similarity=state.similarity
        )

    def resolve(self, layout: TokenLayout, num_layers: int) -> dict[str, Any]:
        return {
            **super().resolve(layout, num_layers),
            "resolved_top_k": layout.scale_count(self.top_k),
            "resolved_first_layer": scale_layer(self.first_layer, num_layers),
        }


@dataclass(frozen=True, kw_only=True)
class StaticTask(Static, RelevantPolicy):
    """``Static`` without the patches that the text looks at most.

    Attributes:
        task_top_k: relevant patches a view (of 256).
    """

    name: ClassVar[str] = "static_task"
    task_top_k: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self.name, "task_top_k", self.task_top_k, low=0, high=256)

    def decide(self, state: CacheState) -> CacheDecision:
        return self._reuse(state, static_patches(state, self.tau, self.top_k), relevant_patches(state, self.task_top_k))

    def resolve(self, layout: TokenLayout, num_layers: int) -> dict[str, Any]:
        return {**super().resolve(layout, num_layers), "resolved_task_top_k": layout.scale_count(self.task_top_k)}


@dataclass(frozen=True, kw_only=True)
class FixedRatio(ReusePolicy):
    """The most similar ``reuse_ratio`` of all vision tokens, at every layer from ``first_layer`` on, changed or not.

    The probe of an ablation: it spends a given reuse, so success against reuse ratio can be drawn.
    """

    name: ClassVar[str] = "fixed_ratio"
    reuse_ratio: float = 0.6
    first_layer: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self.name, "reuse_ratio", self.reuse_ratio, low=0.0, high=1.0)
        check_range(self.name, "first_layer", self.first_layer, low=0, high=31)

    def decide(self, state: CacheState) -> CacheDecision:
        return self._take(state, rank_by_similarity(young_enough(state, self.max_age), state.similarity))

    def _take(self, state: CacheState, ranked: Ranking) -> CacheDecision:
        share = ranked.count.clamp_max(round(self.reuse_ratio * state.layout.num_patches))
        counts = step_counts(share, scale_layer(self.first_layer, state.num_layers), state.num_layers)
        none = torch.zeros_like(state.similarity, dtype=torch.bool)
        chosen = none.scatter(0, ranked.order, torch.arange(none.numel(), device=none.device) < share)
        return CacheDecision.from_ranking(
            ranked.order, counts, static=chosen, relevant=none, similarity=state.similarity
        )


@dataclass(frozen=True, kw_only=True)
class RandomShare(FixedRatio):
    """A random ``reuse_ratio`` of all vision tokens: what the similarity ranking has to beat. Seeded per episode."""

    name: ClassVar[str] = "random"
    needs_similarity: ClassVar[bool] = False

    def decide(self, state: CacheState) -> CacheDecision:
        order = torch.randperm(state.layout.num_patches, generator=state.generator)
        order = to_device(order, state.similarity.device)
        return self._take(state, rank_by_order(young_enough(state, self.max_age), order))
