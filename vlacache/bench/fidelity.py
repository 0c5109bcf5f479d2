"""How far a cache policy's actions are from the dense ones on the same recorded observations (teacher forcing).

No simulator: neither arm's actions move anything, so errors do not add up as they would in a rollout, and a small
error says less about success than a large one does. What it finds surely, and in minutes, is a broken cache: shown the
same picture twice, a right cache changes nothing however much it reuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlacache.bench.phases import PHASES
from vlacache.core.kv_cache import KVCache
from vlacache.models.config import VLAConfig
from vlacache.models.policy import CachedPolicy
from vlacache.types import ActionChunk, Observation, Policy

#: Seed of every replay: both arms draw the same noise.
SEED = 0


@dataclass(frozen=True, slots=True)
class Replay:
    """Both arms on one episode.

    Attributes:
        baseline, policy: float32[C, T, dim] actions of C calls. steps: env step of each call.
        phases: of each call, or None. reuse: reuse ratio of each call of the policy.
    """

    baseline: NDArray[np.float32]
    policy: NDArray[np.float32]
    steps: list[int]
    phases: list[str] | None
    reuse: list[float]

    @property
    def error(self) -> NDArray[np.float32]:
        """|policy - baseline|, float32[C, T, dim] in units of the action."""
        return np.abs(self.policy - self.baseline)


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors over some calls.

    Attributes:
        calls: how many. mean_abs, max_abs: per dimension, in units of the action.
        token_flips: share of actions whose bin differs, per dimension; None without action tokens.
        gripper_flips, actions: actions whose gripper command has another sign, and all actions.
    """

    calls: int
    mean_abs: list[float]
    max_abs: list[float]
    token_flips: list[float] | None
    gripper_flips: int
    actions: int


@dataclass(frozen=True, slots=True)
class Fidelity:
    """One policy against the dense path.

    Attributes:
        first_divergence: per episode the env step of the first call with an error above ``tolerance``, or None.
        phases: errors by phase, where the record tells phases.
    """

    cache: str
    reuse_ratio: float
    overall: Errors
    phases: dict[str, Errors]
    tolerance: float
    first_divergence: list[int | None]


@dataclass(frozen=True, slots=True)
class StillCheck:
    """Every observation shown twice after a reset: whatever the second call reused, it is the dense one.

    Attributes:
        max_abs: largest difference of an action to the dense path's second call. reuse_ratio: of the second calls.
        kv_error: largest difference of a prompt token's K or V in any layer, as a share of the largest K or V. Action
            tokens and gripper commands can hide a fault, these cannot.
        tolerance: for float32; None where rounding alone may exceed any (bfloat16), so that there is no verdict.
    """

    cache: str
    max_abs: float
    kv_error: float
    reuse_ratio: float
    tolerance: float | None

    @property
    def passed(self) -> bool | None:
        """None without a verdict: nothing was reused, or no tolerance."""
        if self.tolerance is None:
            return None
        is_right = max(self.max_abs, self.kv_error) <= self.tolerance
        return None if is_right and self.reuse_ratio == 0.0 else is_right


def replay(baseline: Policy, policy: Policy, observations: Sequence[Observation], phases: list[str] | None) -> Replay:
    """Show both arms one episode, each with its own memory of it.

    Args:
        phases: of every env step, or None.
    """
    for arm in (baseline, policy):
        arm.reset(SEED)
    ours: list[ActionChunk] = []
    theirs: list[ActionChunk] = []
    for observation in observations:
        theirs.append(baseline.infer(observation))
        ours.append(policy.infer(observation))
    steps = [observation.step for observation in observations]
    return Replay(
        np.stack([chunk.actions for chunk in theirs]),
        np.stack([chunk.actions for chunk in ours]),
        steps,
        None if phases is None else [phases[step] for step in steps],
        [chunk.stats.reuse_ratio for chunk in ours],
    )


def check_still(
    cache: str,
    baseline: CachedPolicy,
    policy: CachedPolicy,
    observations: Sequence[Observation],
    tolerance: float | None,
) -> StillCheck:
    """Reset, show an observation twice, compare the second calls; for all observations."""
    errors, kv_errors, reuse = [], [], []
    for observation in observations:
        chunks = []
        for arm in (baseline, policy):
            arm.reset(SEED)
            arm.infer(observation)
            chunks.append(arm.infer(observation))
        errors.append(float(np.abs(chunks[1].actions - chunks[0].actions).max()))
        kv_errors.append(kv_error(baseline.session.kv, policy.session.kv, chunks[1].stats.num_prompt_tokens))
        reuse.append(chunks[1].stats.reuse_ratio)
    return StillCheck(cache, max(errors), max(kv_errors), float(np.mean(reuse)), tolerance)


def kv_error(baseline: KVCache, policy: KVCache, num_tokens: int) -> float:
    """Largest difference in the first ``num_tokens`` slots, K and V each as a share of its largest entry."""
    pairs = [(b[:, :, :num_tokens], p[:, :, :num_tokens]) for b, p in ((baseline.k, policy.k), (baseline.v, policy.v))]
    return max(float((b - p).abs().max() / b.abs().max()) for b, p in pairs)


def compare(cache: str, replays: Sequence[Replay], config: VLAConfig, tolerance: float) -> Fidelity:
    """Errors over all episodes, by phase, and where each first diverges."""
    groups: dict[str, Errors] = {}
    for phase in PHASES:
        masks = [np.array([p == phase for p in r.phases or []], dtype=bool) for r in replays if r.phases is not None]
        known = [r for r in replays if r.phases is not None]
        if any(mask.any() for mask in masks):
            groups[phase] = _errors(known, masks, config)
    every = [np.ones(len(r.steps), dtype=bool) for r in replays]
    return Fidelity(
        cache,
        float(np.mean([ratio for r in replays for ratio in r.reuse])),
        _errors(replays, every, config),
        groups,
        tolerance,
        [_first_divergence(r, tolerance) for r in replays],
    )


def _first_divergence(replayed: Replay, tolerance: float) -> int | None:
    beyond = replayed.error.max(axis=(1, 2)) > tolerance
    return replayed.steps[int(beyond.argmax())] if beyond.any() else None


def _errors(replays: Sequence[Replay], masks: Sequence[NDArray[np.bool_]], config: VLAConfig) -> Errors:
    chosen = [(r.baseline[m], r.policy[m]) for r, m in zip(replays, masks, strict=True)]
    baseline, policy = (np.concatenate(side) for side in zip(*chosen, strict=True))
    error = np.abs(policy - baseline)
    flips = None
    if config.head == "token_bins":
        changed = action_bins(policy, config) != action_bins(baseline, config)
        flips = changed.mean(axis=(0, 1)).tolist()
    gripper = np.sign(policy[..., -1]) != np.sign(baseline[..., -1])
    return Errors(
        calls=len(baseline),
        mean_abs=error.mean(axis=(0, 1)).tolist(),
        max_abs=error.max(axis=(0, 1)).tolist(),
        token_flips=flips,
        gripper_flips=int(gripper.sum()),
        actions=int(gripper.size),
    )


def action_bins(actions: NDArray[np.floating[Any]], config: VLAConfig) -> NDArray[np.int64]:
    """The bin that each entry was decoded from, int64 of the same shape.

    Recovered from the action, so the two lowest ids, which mean the same, are one bin, and where a gripper rule keeps
    only the sign there are two.
    """
    low, high = np.asarray(config.action_low), np.asarray(config.action_high)
    width = high - low + config.action_epsilon
    normalized = 2.0 * (actions - low) / np.where(width == 0, 1.0, width) - 1.0
    if config.action_mask:
        normalized = np.where(config.action_mask, normalized, actions)
    return np.rint((normalized + 1.0) * (config.num_action_bins - 1) / 2.0 - 0.5).astype(np.int64)
