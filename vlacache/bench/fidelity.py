"""How far a cache policy's actions are from the dense ones on the same recorded observations (teacher forcing).

No simulator: neither arm's actions move anything, so errors do not add up as they would in a rollout, and a small
error says less about success than a large one does. What it finds surely, and in minutes, is a broken cache: shown the
same picture twice, a right cache changes nothing however much it reuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlacache.bench.phases import PHASES
from vlacache.core.kv_cache import KVCache
from vlacache.models.policy import CachedPolicy
from vlacache.types import ActionChunk, Observation

#: Seed of every replay: both arms draw the same noise.
SEED = 0


@dataclass(frozen=True, slots=True)
class Replay:
    """Both arms on one episode.

    Attributes:
        baseline, policy: float32[C, T, dim] actions of C calls. steps: env step of each call.
        phases: of each call, or None. reuse: reuse ratio of each call of the policy.
        baseline_ids, policy_ids: int64[C, T * dim] tokens that the arms generated; None of a model without any.
    """

    baseline: NDArray[np.float32]
    policy: NDArray[np.float32]
    steps: list[int]
    phases: list[str] | None
    reuse: list[float]
    baseline_ids: NDArray[np.int64] | None = None
    policy_ids: NDArray[np.int64] | None = None

    @property
    def error(self) -> NDArray[np.float32]:
        """|policy - baseline|, float32[C, T, dim] in units of the action."""
        return np.abs(self.policy - self.baseline)


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors over some calls.

    Attributes:
        calls: how many. mean_abs, max_abs: per dimension, in units of the action.
        token_flips: share of actions whose generated token differs, per dimension; None without action tokens.
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


def replay(
    baseline: CachedPolicy, policy: CachedPolicy, observations: Sequence[Observation], phases: list[str] | None
) -> Replay:
    """Show both arms one episode, each with its own memory of it.

    Args:
        phases: of every env step, or None.
    """
    for arm in (baseline, policy):
        arm.reset(SEED)
    ours: list[ActionChunk] = []
    theirs: list[ActionChunk] = []
    ids: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]] = ([], [])
    for observation in observations:
        theirs.append(baseline.infer(observation))
        ours.append(policy.infer(observation))
        for arm, kept in zip((baseline, policy), ids, strict=True):
            if arm.token_ids is not None:
                kept.append(arm.token_ids.copy())
    steps = [observation.step for observation in observations]
    return Replay(
        np.stack([chunk.actions for chunk in theirs]),
        np.stack([chunk.actions for chunk in ours]),
        steps,
        None if phases is None else [phases[step] for step in steps],
        [chunk.stats.reuse_ratio for chunk in ours],
        *(np.stack(kept) if kept else None for kept in ids),
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


def compare(cache: str, replays: Sequence[Replay], tolerance: float) -> Fidelity:
    """Errors over all episodes, by phase, and where each first diverges."""
    groups: dict[str, Errors] = {}
    for phase in PHASES:
        masks = [np.array([p == phase for p in r.phases or []], dtype=bool) for r in replays if r.phases is not None]
        known = [r for r in replays if r.phases is not None]
        if any(mask.any() for mask in masks):
            groups[phase] = _errors(known, masks)
    every = [np.ones(len(r.steps), dtype=bool) for r in replays]
    return Fidelity(
        cache,
        float(np.mean([ratio for r in replays for ratio in r.reuse])),
        _errors(replays, every),
        groups,
        tolerance,
        [_first_divergence(r, tolerance) for r in replays],
    )


def _first_divergence(replayed: Replay, tolerance: float) -> int | None:
    beyond = replayed.error.max(axis=(1, 2)) > tolerance
    return replayed.steps[int(beyond.argmax())] if beyond.any() else None


def _errors(replays: Sequence[Replay], masks: Sequence[NDArray[np.bool_]]) -> Errors:
    chosen = [(r.baseline[m], r.policy[m]) for r, m in zip(replays, masks, strict=True)]
    baseline, policy = (np.concatenate(side) for side in zip(*chosen, strict=True))
    error = np.abs(policy - baseline)
    gripper = np.sign(policy[..., -1]) != np.sign(baseline[..., -1])
    return Errors(
        calls=len(baseline),
        mean_abs=error.mean(axis=(0, 1)).tolist(),
        max_abs=error.max(axis=(0, 1)).tolist(),
        token_flips=_token_flips(replays, masks, baseline.shape[-1]),
        gripper_flips=int(gripper.sum()),
        actions=int(gripper.size),
    )


def _token_flips(replays: Sequence[Replay], masks: Sequence[NDArray[np.bool_]], action_dim: int) -> list[float] | None:
    changed = [
        (r.policy_ids[mask] != r.baseline_ids[mask]).reshape(-1, action_dim)
        for r, mask in zip(replays, masks, strict=True)
        if r.policy_ids is not None and r.baseline_ids is not None
    ]
    return np.concatenate(changed).mean(axis=0).tolist() if changed else None
