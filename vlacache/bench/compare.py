"""Policies side by side on the same recorded frames: one process, interleaved calls, warm-up out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vlacache.bench.roofline import synchronize
from vlacache.models.policy import CachedPolicy
from vlacache.types import STAGES, InferenceStats, Observation, Policy


@dataclass(frozen=True)
class Call:
    """One timed call.

    Attributes:
        wall_ms: of the whole ``infer``, device synchronised on both sides.
        extra_bytes: device memory it needed at its peak beyond what was held before it, the scratch memory of replayed
            graphs included (they use it without allocating it; at most their largest); None on a CPU.
    """

    stats: InferenceStats
    wall_ms: float
    extra_bytes: int | None


@dataclass(frozen=True)
class Measured:
    """All timed calls of one arm: ``calls[e][i]`` is call i of episode repetition e."""

    calls: list[list[Call]]

    def column(self, name: str) -> NDArray[np.float64]:
        """One field of the stats over all calls, float64[episodes, calls]."""
        return np.array([[getattr(c.stats, name) for c in episode] for episode in self.calls], dtype=float)

    def wall_ms(self) -> NDArray[np.float64]:
        """float64[episodes, calls]."""
        return np.array([[c.wall_ms for c in episode] for episode in self.calls])

    def accepted(self) -> NDArray[np.float64]:
        """float64[episodes, calls]: decode steps that a draft saved; NaN for a call without a draft."""
        saved = [[c.stats.accepted_tokens for c in episode] for episode in self.calls]
        return np.array(saved, dtype=float)

    def counts(self) -> NDArray[np.bool_]:
        """bool[episodes, calls]: calls that did not warm up; a new shape can still come after the warm-up."""
        return np.array([[not c.stats.is_warmup for c in episode] for episode in self.calls], dtype=bool)

    def used_cache(self) -> NDArray[np.bool_]:
        """bool[episodes, calls]: calls that count and reused something; all but the cold ones of an arm without any.

        Raises:
            ValueError: every call but the cold ones warmed up.
        """
        why = np.array([[c.stats.fallback or "used" for c in episode] for episode in self.calls])
        counts = self.counts()
        used: NDArray[np.bool_] = (why == "used") & counts
        used = used if used.any() else (why != "cold") & counts
        if not used.any():
            raise ValueError("benchmark: expected calls after the warm-up, got none; give more --warmup or --repeats")
        return used

    def extra_bytes(self) -> int | None:
        """The most that any call needed; None on a CPU."""
        found = [c.extra_bytes for episode in self.calls for c in episode if c.extra_bytes is not None]
        return max(found, default=None)


def measure(
    arms: Mapping[str, Policy],
    observations: Sequence[Observation],
    *,
    episodes: int,
    warmup: int = 2,
    device: torch.device | None = None,
) -> dict[str, Measured]:
    """Replay the episode ``warmup + episodes`` times through all arms.

    At every frame each arm is called once, in a new random order, so that drift of the machine and the state in which
    one arm leaves the processor's caches hit all arms alike.
    """
    place = torch.device("cpu") if device is None else device
    names, order = list(arms), np.random.default_rng(0)
    measured: dict[str, Measured] = {name: Measured([]) for name in names}
    for repetition in range(warmup + episodes):
        for policy in arms.values():
            policy.reset(0)
        timed: dict[str, list[Call]] = {name: [] for name in names}
        for observation in observations:
            for name in order.permutation(names):
                timed[name].append(timed_call(arms[name], observation, place))
        if repetition >= warmup:
            for name in names:
                measured[name].calls.append(timed[name])
    return measured


def timed_call(policy: Policy, observation: Observation, device: torch.device) -> Call:
    """One call between two synchronised readings of the clock."""
    on_gpu = device.type == "cuda"
    synchronize(device)
    held = torch.cuda.memory_allocated(device) if on_gpu else 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    stats = policy.infer(observation).stats
    synchronize(device)
    wall_ms = (time.perf_counter() - start) * 1e3
    if not on_gpu:
        return Call(stats, wall_ms, None)
    scratch = policy.runtime.scratch_bytes if isinstance(policy, CachedPolicy) else 0
    return Call(stats, wall_ms, torch.cuda.max_memory_allocated(device) - held + scratch)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; ratios are baseline / arm, so above 1 is faster. Times are medians in ms.

    Attributes:
        end_to_end, prefill: speed-up over calls that used the cache (all warm calls of an arm that never did).
        episode, episode_low, episode_high: whole episodes, cold calls and fallbacks included, with 95 % bounds.
        ideal_prefill, ideal_end_to_end: the MAC ratio. efficiency: prefill / ideal_prefill.
        decide_share: deciding and reading attention / the arm's own call.
    """

    arm: str
    reuse_ratio: float
    cached_calls: float
    total_ms: float
    p90_ms: float
    prefill_ms: float
    decide_ms: float
    decide_share: float
    end_to_end: float
    prefill: float
    ideal_end_to_end: float
    ideal_prefill: float
    efficiency: float
    episode: float
    episode_low: float
    episode_high: float
    max_age: int
    stage_ms: dict[str, float]


def summarize(arm: str, ours: Measured, baseline: Measured, seed: int = 0) -> Row:
    """Compare one arm with the baseline, call by call on the same frames."""
    used = ours.used_cache()
    ratio = {
        name: paired_ratio(ours, baseline, name, used) for name in ("total_ms", "prefill_ms", "macs", "prefill_macs")
    }
    episode, low, high = _episode_ratio(ours, baseline, seed)
    total, decide = _where(ours, "total_ms", used), _where(ours, "decide_ms", used)
    return Row(
        arm=arm,
        reuse_ratio=float(_where(ours, "reuse_ratio", used).mean()),
        cached_calls=float(np.mean([c.stats.fallback is None for e in ours.calls for c in e])),
        total_ms=float(np.median(total)),
        p90_ms=float(np.percentile(total, 90)),
        prefill_ms=float(np.median(_where(ours, "prefill_ms", used))),
        decide_ms=float(np.median(decide)),
        decide_share=float(np.median(decide) / np.median(total)),
        end_to_end=ratio["total_ms"],
        prefill=ratio["prefill_ms"],
        ideal_end_to_end=ratio["macs"],
        ideal_prefill=ratio["prefill_macs"],
        efficiency=ratio["prefill_ms"] / ratio["prefill_macs"],
        episode=episode,
        episode_low=low,
        episode_high=high,
        max_age=int(ours.column("max_age").max()),
        stage_ms={stage: float(np.median(_where(ours, f"{stage}_ms", used))) for stage in STAGES},
    )


def _where(measured: Measured, name: str, used: NDArray[np.bool_]) -> NDArray[np.float64]:
    return measured.column(name)[used]


def paired_ratio(ours: Measured, baseline: Measured, name: str, used: NDArray[np.bool_]) -> float:
    """Median over the ``used`` calls of baseline / ours on the same frame; warm-up of either left out."""
    counts = used & baseline.counts() & ours.counts()
    return float(np.median(_where(baseline, name, counts) / _where(ours, name, counts)))


def _episode_ratio(ours: Measured, baseline: Measured, seed: int, draws: int = 2000) -> tuple[float, float, float]:
    """Median over episodes of the summed times' ratio, with 95 % percentile bounds from resampling whole episodes.

    Episodes are resampled, not calls: calls of one repetition share the machine's mood.
    """
    counts = ours.counts() & baseline.counts()
    kept = counts.any(axis=1)
    times = [np.where(counts, arm.column("total_ms"), 0.0).sum(axis=1)[kept] for arm in (baseline, ours)]
    per_episode = times[0] / times[1]
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(per_episode), (draws, len(per_episode)))
    medians = np.median(per_episode[picks], axis=1)
    return float(np.median(per_episode)), float(np.percentile(medians, 2.5)), float(np.percentile(medians, 97.5))
