"""Cache policies wrapped for the benchmark: one that decides and reuses nothing, one that goes by a trace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from vlacache.bench.trace import RELEVANCE_KINDS, AttentionTrace, FittedTrace, TraceSource, kinds_key
from vlacache.core.decision import CacheDecision
from vlacache.core.layout import SpanKind, TokenLayout, scale_layer
from vlacache.core.motion import Motion
from vlacache.core.policies.base import CachePolicy, CacheState, ReadoutNumbers, ReusePolicy
from vlacache.models.factory import LoadedModel
from vlacache.models.policy import CachedPolicy
from vlacache.types import ActionChunk, Observation

#: Class variables by which the session asks a policy what it needs.
_ASKED = ("name", "reference", "measure", "needs_similarity", "needs_entropy", "relevance_kinds")


@dataclass(frozen=True, kw_only=True)
class Wrapped(ReusePolicy):
    """Another policy in every respect that the session sees; subclasses change its decisions."""

    inner: ReusePolicy

    def __post_init__(self) -> None:
        for name in _ASKED:
            object.__setattr__(self, name, getattr(self.inner, name))
        super().__post_init__()

    def relevance_layers(self, num_layers: int) -> tuple[int, ...]:
        return self.inner.relevance_layers(num_layers)

    @property
    def readout(self) -> ReadoutNumbers:
        return self.inner.readout

    @property
    def moves_kv(self) -> bool:
        return self.inner.moves_kv

    def decide(self, state: CacheState) -> CacheDecision:
        return self.inner.decide(state)

    def resolve(self, layout: TokenLayout, num_layers: int) -> dict[str, Any]:
        return self.inner.resolve(layout, num_layers)


@dataclass(frozen=True, kw_only=True)
class ReuseNothing(Wrapped):
    """Compares, reads attention and decides in every call, then recomputes everything: the overhead alone."""

    @classmethod
    def around(cls, inner: ReusePolicy) -> ReuseNothing:
        """Never backs off, so that every warm call pays."""
        return cls(inner=inner, max_age=inner.max_age, min_saving=0.0, max_backoff=0)

    def decide(self, state: CacheState) -> CacheDecision:
        return compute_all(super().decide(state))


@dataclass(slots=True)
class Cursor:
    """Where in the episode the next decision is."""

    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Replayed(Wrapped):
    """Relevance, entropies and motion from a trace; similarity and ages live. The live readout is paid for."""

    trace: FittedTrace
    cursor: Cursor = field(default_factory=Cursor)

    @classmethod
    def around(cls, inner: ReusePolicy, trace: FittedTrace) -> Replayed:
        """With the inner policy's limits."""
        return cls(
            inner=inner, trace=trace, **{limit.name: getattr(inner, limit.name) for limit in fields(ReusePolicy)}
        )

    def wants_dense(self, motion: Motion | None) -> bool:
        return motion is not None and super().wants_dense(self.trace.motion_at(self.cursor.step))

    def decide(self, state: CacheState) -> CacheDecision:
        kinds = self.inner.relevance_kinds
        scores, entropies = self.trace.at(self.cursor.step, kinds, state.layout.num_tokens)
        return super().decide(replace(state, scores=scores, entropies=entropies))


class TracedPolicy(CachedPolicy):
    """A model that decides what to reuse by a trace instead of by its own attention."""

    def __init__(self, loaded: LoadedModel, cache: ReusePolicy, trace: FittedTrace) -> None:
        self._replayed = Replayed.around(cache, trace)
        super().__init__(loaded, self._replayed)

    def infer(self, observation: Observation) -> ActionChunk:
        """One policy call; ``observation.step`` finds the entry of the trace."""
        self._replayed.cursor.step = observation.step
        return super().infer(observation)


@dataclass(frozen=True, kw_only=True)
class Probe(ReusePolicy):
    """Runs dense and keeps what a decision would have gone by.

    Attributes:
        kinds: rows read for relevance. relevance_layer: index of 32. seen: (scores, entropies) of every decision.
    """

    name: ClassVar[str] = "probe"
    needs_similarity: ClassVar[bool] = False
    needs_entropy: ClassVar[bool] = True
    kinds: tuple[SpanKind, ...]
    relevance_layer: int = 15
    seen: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "relevance_kinds", self.kinds)

    def relevance_layers(self, num_layers: int) -> tuple[int, ...]:
        return (scale_layer(self.relevance_layer, num_layers),)

    def decide(self, state: CacheState) -> CacheDecision:
        if state.scores is None or state.entropies is None:
            raise RuntimeError("probe: no attention was read before this call")
        self.seen.append((state.scores.float().cpu(), state.entropies.float().cpu()))
        return CacheDecision.dense(state.layout, state.num_layers, "refresh", state.similarity.device)


def record_trace(loaded: LoadedModel, observations: Sequence[Observation], episode: str) -> AttentionTrace:
    """Show a model an episode and keep its attention: all rows, all layers, every call, nothing reused.

    Raises:
        ValueError: fewer than two observations (the first call has nothing to go by).
    """
    if len(observations) < 2:
        raise ValueError(f"trace: expected an episode of at least 2 policy calls, got {len(observations)}")
    probes = {kinds_key(k): Probe(kinds=k, min_saving=0.0, max_backoff=0) for k in RELEVANCE_KINDS}
    num_tokens = 0
    motions: list[Motion] = []
    for probe in probes.values():
        policy = CachedPolicy(loaded, probe)
        policy.reset(0)
        motions = []
        for observation in observations:
            num_tokens = policy.infer(observation).stats.num_prompt_tokens
            moved = policy.session.motion
            assert moved is not None  # every call of a CachedPolicy measures it
            motions.append(moved)
    info = loaded.info
    grid = (len(observations) - 1, len(info.views), *info.grid)
    entropies = next(iter(probes.values())).seen
    shares = torch.stack([entropy for _, entropy in entropies]) / math.log(num_tokens)
    return AttentionTrace(
        TraceSource(info.name, info.weights, info.checkpoint, episode, Probe.relevance_layer),
        info.views,
        np.array([observation.step for observation in observations[1:]]),
        {key: torch.stack([score for score, _ in probe.seen]).reshape(grid).numpy() for key, probe in probes.items()},
        shares.numpy(),
        np.array([motion.speed for motion in motions[:-1]]),
        np.array([motion.grips for motion in motions[:-1]]),
    )


def compute_all(decision: CacheDecision) -> CacheDecision:
    """The same findings, nothing reused."""
    return replace(decision, leave_layer=torch.full_like(decision.leave_layer, decision.num_layers))


def policy_arm(loaded: LoadedModel, cache: CachePolicy, trace: FittedTrace | None) -> CachedPolicy:
    """The policy going by the trace where there is one, else by the model's own attention."""
    if trace is None or not isinstance(cache, ReusePolicy):
        return CachedPolicy(loaded, cache)
    return TracedPolicy(loaded, cache, trace)
