"""Our policy: drift-proof reference, relevance, a share per layer by attention, bounded age, dense while it grips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from vlacache.core.decision import CacheDecision
from vlacache.core.layout import SpanKind, TokenLayout, scale_layer
from vlacache.core.policies.base import (
    CacheState,
    EntropyCalls,
    ReadoutNumbers,
    Reference,
    RelevantPolicy,
    check_choice,
    check_range,
    rank_by_similarity,
    relevant_patches,
    share_counts,
    static_patches,
    young_enough,
)
from vlacache.core.policies.published import measured_entropies
from vlacache.core.schedule import concentration
from vlacache.core.similarity import SimilarityMeasure


@dataclass(frozen=True, kw_only=True)
class Adaptive(RelevantPolicy):
    """Reuse what did not change since it was computed, is not looked at, and is not old.

    Differs from both published rules: a patch is compared with the oldest frame that any of its cached layers still
    depends on, so slow drift adds up until it is seen; the measure also sees brightness; candidates leave in order
    of similarity; rows of the action tokens count for relevance; no K/V outlives ``max_age`` calls; nothing is reused
    while the hand moves slowly or grips (docs/decisions/014-dense-while-precise.md).

    Attributes:
        tau: dice threshold (0.999 = a relative change of 4.5 %). top_k: candidates a view (of 256).
        task_top_k: relevant patches a view (of 256). first_layer: no reuse above it (index of 32).
        schedule_base, schedule_gain: share at layer l = base + gain * (1 - entropy / log N), see ``concentration``.
        entropy_rows, relevance_rows: query rows read per layer for entropy and for relevance, None for all.
        entropy_calls: ``dense``: entropies are read at the start and at each refresh, not in calls that run dense for
            the motion alone; they drift slowly, reading costs.
    """

    name: ClassVar[str] = "adaptive"
    reference: ClassVar[Reference] = "oldest"
    measure: ClassVar[SimilarityMeasure] = "dice"
    needs_entropy: ClassVar[bool] = True
    relevance_kinds: ClassVar[tuple[SpanKind, ...]] = ("text", "action")
    tau: float = 0.999
    top_k: int = 256
    task_top_k: int = 128
    first_layer: int = 0
    schedule: Literal["concentration"] = "concentration"
    schedule_base: float = 0.6
    schedule_gain: float = 1.0
    entropy_rows: int | None = 16
    entropy_calls: EntropyCalls = "dense"
    relevance_rows: int | None = 32
    carry_shift: bool = True
    max_age: int | None = 4
    refresh_every: int | None = 12
    dense_below_speed: float | None = 0.25
    dense_at_grip: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self.name, "tau", self.tau, low=-1.0, high=1.0)
        check_range(self.name, "top_k", self.top_k, low=0, high=256)
        check_range(self.name, "task_top_k", self.task_top_k, low=0, high=256)
        check_range(self.name, "first_layer", self.first_layer, low=0, high=31)
        check_range(self.name, "schedule_base", self.schedule_base, low=0.0, high=1.0)
        check_range(self.name, "schedule_gain", self.schedule_gain, low=0.0)
        check_range(self.name, "entropy_rows", self.entropy_rows, low=1)
        check_choice(self.name, "entropy_calls", self.entropy_calls, get_args(EntropyCalls))
        check_range(self.name, "relevance_rows", self.relevance_rows, low=1)

    @property
    def readout(self) -> ReadoutNumbers:
        return ReadoutNumbers(self.entropy_rows, self.entropy_calls, self.relevance_rows)

    def decide(self, state: CacheState) -> CacheDecision:
        static = static_patches(state, self.tau, self.top_k)
        relevant = relevant_patches(state, self.task_top_k)
        ranked = rank_by_similarity(static & ~relevant & young_enough(state, self.max_age), state.similarity)
        shares = concentration(
            measured_entropies(state), state.layout.num_tokens, self.schedule_base, self.schedule_gain
        )
        first = scale_layer(self.first_layer, state.num_layers)
        counts = share_counts(shares, ranked.count, first)
        return CacheDecision.from_ranking(
            ranked.order, counts, static=static, relevant=relevant, similarity=state.similarity
        )

    def resolve(self, layout: TokenLayout, num_layers: int) -> dict[str, Any]:
        return {
            **super().resolve(layout, num_layers),
            "resolved_top_k": layout.scale_count(self.top_k),
            "resolved_task_top_k": layout.scale_count(self.task_top_k),
            "resolved_first_layer": scale_layer(self.first_layer, num_layers),
        }
