"""What every cache policy shares: its inputs, its interface, and three small selections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from vlacache.core.decision import CacheDecision
from vlacache.core.layout import SpanKind, TokenLayout, scale_layer
from vlacache.core.motion import Motion
from vlacache.core.relevance import top_per_view
from vlacache.core.similarity import SimilarityMeasure

#: ``previous``: the frame of the last call. ``oldest``: per patch the oldest frame any of its cached layers was
#: computed from.
Reference = Literal["previous", "oldest"]

#: Calls in which entropies are read: in all of them, or in those that compute everything anyway.
EntropyCalls = Literal["all", "dense"]


@dataclass(frozen=True, slots=True)
class CacheState:
    """What a policy may look at. Shapes: P patches of all views, L layers.

    Everything but entropies and generator lives on the model's device and is not waited for: a policy works with
    masks, rankings and counts of fixed shape.

    Attributes:
        similarity: float32[P] against the policy's reference frame.
        scores: float32[P] relevance read in an earlier call, or None.
        entropies: float32[L] (CPU) read in the last call that measured them, or None.
        oldest_age: int32[P] age of the oldest K/V of each patch over its layers, in calls.
        generator: CPU random numbers of this episode.
    """

    layout: TokenLayout
    num_layers: int
    similarity: Tensor
    scores: Tensor | None
    entropies: Tensor | None
    oldest_age: Tensor
    generator: torch.Generator


class ReadoutNumbers(NamedTuple):
    """How much attention a policy reads: rows per layer (None for all), and in which calls entropies."""

    entropy_rows: int | None = None
    entropy_calls: EntropyCalls = "all"
    relevance_rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class CachePolicy(ABC):
    """Base of all cache policies; the fields of a subclass are the keys of ``configs/cache/<name>.yaml``."""

    name: ClassVar[str]
    reference: ClassVar[Reference] = "previous"
    measure: ClassVar[SimilarityMeasure] = "cosine"
    needs_similarity: ClassVar[bool] = True
    needs_entropy: ClassVar[bool] = False
    relevance_kinds: ClassVar[tuple[SpanKind, ...]] = ("text",)

    def relevance_layers(self, num_layers: int) -> tuple[int, ...]:
        """Layers whose attention is read for relevance; empty when the policy does not use it."""
        return ()

    @property
    def readout(self) -> ReadoutNumbers:
        """How much attention is read."""
        return ReadoutNumbers()

    @property
    def moves_kv(self) -> bool:
        """Under full attention reused K/V move along with the context (``ContextShift``)."""
        return False

    @abstractmethod
    def decide(self, state: CacheState) -> CacheDecision:
        """Choose what to reuse. Pure: the same state gives the same decision."""

    def resolve(self, layout: TokenLayout, num_layers: int) -> dict[str, Any]:
        """The numbers as they apply to this model: scaled layers and counts, for the run record."""
        layers = list(self.relevance_layers(num_layers))
        return {"name": self.name, **asdict(self), **({"resolved_relevance_layers": layers} if layers else {})}


@dataclass(frozen=True, kw_only=True)
class ReusePolicy(CachePolicy):
    """A policy that may reuse something.

    Layer indices and per-view counts are written for 32 layers and 256 patches a view and scaled by the layout.

    Attributes:
        max_age: a patch whose oldest K/V would become older than this many calls is recomputed; None for no limit.
        refresh_every: every so many calls everything is recomputed; None for never.
        min_saving: below this share of saved prefill MACs the call runs dense (deciding would cost more).
        max_backoff: calls that run dense without being asked after repeated misses of the break-even; 0 asks always.
        dense_below_speed: the call after actions slower than this (``Motion.speed``) runs dense; None for never.
        dense_at_grip: so does the call after a change of the gripper's command.
    """

    max_age: int | None = None
    refresh_every: int | None = None
    min_saving: float = 0.08
    max_backoff: int = 8
    dense_below_speed: float | None = None
    dense_at_grip: bool = False

    def __post_init__(self) -> None:
        check_range(self.name, "max_age", self.max_age, low=1)
        check_range(self.name, "refresh_every", self.refresh_every, low=1)
        check_range(self.name, "min_saving", self.min_saving, low=0.0, high=1.0)
        check_range(self.name, "max_backoff", self.max_backoff, low=0)
        check_range(self.name, "dense_below_speed", self.dense_below_speed, low=0.0)
        check_flag(self.name, "dense_at_grip", self.dense_at_grip)

    def wants_dense(self, motion: Motion | None) -> bool:
        """Whether the call after ``motion`` is too delicate to reuse anything; None: nothing was executed yet."""
        if motion is None:
            return False
        is_slow = self.dense_below_speed is not None and motion.speed < self.dense_below_speed
        return is_slow or (self.dense_at_grip and motion.grips)


@dataclass(frozen=True, kw_only=True)
class RelevantPolicy(ReusePolicy):
    """A policy that reads relevance at one layer, and so recomputes patches that did not change.

    Attributes:
        relevance_layer: index of 32.
        carry_shift: reused K/V move by what those of recomputed static patches moved on average, where attention is
            full (``ContextShift``); behind a causal mask nothing moves.
    """

    relevance_layer: int = 15
    carry_shift: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self.name, "relevance_layer", self.relevance_layer, low=0, high=31)
        check_flag(self.name, "carry_shift", self.carry_shift)

    @property
    def moves_kv(self) -> bool:
        return self.carry_shift

    def relevance_layers(self, num_layers: int) -> tuple[int, ...]:
        return (scale_layer(self.relevance_layer, num_layers),)


def check_range(policy: str, key: str, value: float | None, *, low: float, high: float = float("inf")) -> None:
    """Raise ``ValueError`` unless ``value`` is None or inside ``low .. high``; whole numbers where ``low`` is one."""
    if value is None:
        return
    is_count = isinstance(low, int)
    if not low <= value <= high or isinstance(value, bool) or (is_count and not isinstance(value, int)):
        limit = f"between {low} and {high}" if high != float("inf") else f"at least {low}"
        number = "whole number" if is_count else "number"
        raise ValueError(f"cache.{key}: expected a {number} {limit}, got {value!r} (cache={policy})")


def check_flag(policy: str, key: str, value: bool) -> None:
    """Raise ``ValueError`` unless ``value`` is a bool: any word would count as true."""
    if not isinstance(value, bool):
        raise ValueError(f"cache.{key}: expected true or false, got {value!r} (cache={policy})")


def check_choice(policy: str, key: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"cache.{key}: expected one of {', '.join(choices)}, got {value!r} (cache={policy})")


def static_patches(state: CacheState, tau: float, top_k: int) -> Tensor:
    """bool[P]: similarity >= tau, and among the ``top_k`` (of 256) most similar of its view.

    Ties are broken by patch index, as a stable sort does.
    """
    layout = state.layout
    passed = state.similarity >= tau
    count = layout.scale_count(top_k)
    if count >= layout.patches_per_view:
        return passed
    per_view = state.similarity.view(len(layout.views), layout.patches_per_view)
    order = torch.sort(per_view, dim=1, descending=True, stable=True).indices[:, :count]
    best = torch.zeros_like(per_view, dtype=torch.bool).scatter_(1, order, True).flatten()
    return passed & best


def relevant_patches(state: CacheState, task_top_k: int) -> Tensor:
    """bool[P]: the ``task_top_k`` (of 256) patches of every view that the read rows look at most.

    Raises:
        RuntimeError: no relevance was read yet.
    """
    if state.scores is None:
        raise RuntimeError("relevance: no attention was read before this call; the session must run a dense call first")
    return top_per_view(state.scores, state.layout.scale_count(task_top_k), state.layout)


def young_enough(state: CacheState, max_age: int | None) -> Tensor:
    """bool[P]: reusing the patch once more keeps all its K/V within ``max_age`` calls."""
    if max_age is None:
        return torch.ones_like(state.oldest_age, dtype=torch.bool)
    return state.oldest_age < max_age


@dataclass(frozen=True, slots=True)
class Ranking:
    """Patches in the order in which they may leave.

    Attributes:
        order: int64[P] all patches, the candidates first. count: int64[] number of candidates R.
    """

    order: Tensor
    count: Tensor


def rank_by_similarity(candidates: Tensor, similarity: Tensor) -> Ranking:
    """Candidate patches, most similar first, ties by index."""
    keys = similarity.masked_fill(~candidates, float("-inf"))
    return Ranking(torch.sort(keys, descending=True, stable=True).indices, candidates.sum())


def rank_by_order(candidates: Tensor, order: Tensor) -> Ranking:
    """Candidate patches as they come in ``order`` (int64[P])."""
    last = torch.sort(~candidates[order], stable=True).indices
    return Ranking(order[last], candidates.sum())


def share_counts(shares: Tensor, count: Tensor, first_layer: int = 0) -> Tensor:
    """int64[L]: ``floor(share * R)`` at each layer, 0 above ``first_layer``.

    Args:
        shares: float32[L] on the CPU. count: int64[] on the device; the product is taken in float64.
    """
    shares = shares.clone()
    shares[:first_layer] = 0.0
    return (to_device(shares, count.device).double() * count).long()


def step_counts(share: Tensor, first_layer: int, num_layers: int) -> Tensor:
    """int64[L]: counts that jump from 0 to ``share`` at ``first_layer``."""
    return torch.where(torch.arange(num_layers, device=share.device) >= first_layer, share, 0)


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """A few numbers from the host; the device does not finish its work first."""
    return values.to(device, non_blocking=True)
