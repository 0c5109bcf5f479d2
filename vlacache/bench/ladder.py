"""The latency ladder: every arm's time by stage, its work, and how far it is from the floor of the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vlacache.bench.arms import ReuseNothing, policy_arm
from vlacache.bench.compare import Measured, paired_ratio
from vlacache.bench.drafts import KnownDraftsPolicy, WrongDraftsPolicy, draft_arm
from vlacache.bench.plain import PlainPolicy
from vlacache.bench.roofline import FLOOR_STAGES, DeviceRates, StageCost, call_costs, floor_ms
from vlacache.bench.trace import FittedTrace
from vlacache.core.flops import prefill_macs
from vlacache.core.policies import build_cache_policy
from vlacache.core.policies.base import ReusePolicy
from vlacache.models.factory import LoadedModel, run_differently
from vlacache.models.policy import CachedPolicy
from vlacache.models.prismatic import VLAModel
from vlacache.types import STAGES, Observation, Policy

#: The rungs below the cache policies. All others are compared with DENSE.
SCRIPT, EAGER, DENSE = "eager+attentions", "eager", "dense"
POLICIES = ("adaptive", "paper", "official", "static", "static_task")
#: Policies with a rung that decides alike and reuses nothing: those that read attention.
AT_ZERO = ("adaptive", "paper", "official")
FIXED_RATIOS = (0.2, 0.4, 0.6, 0.8)
#: A call with this many times fewer MACs than the dense one: what the speed of the cached path is judged by.
MAC_RATIO = 1.5
MAC_RATIO_ARM = f"fixed_MACs/{MAC_RATIO}"


def at_zero(policy: str) -> str:
    """Name of the rung that decides like ``policy`` and reuses nothing."""
    return f"{policy} at 0"


def variant(key: str, value: object) -> str:
    """Name of a dense rung that is loaded differently."""
    return f"{DENSE}, {key}={value}"


SPECULATIVE = variant("decode", "speculative")
#: Its two ends, see ``vlacache.bench.drafts``.
KNOWN_DRAFTS, WRONG_DRAFTS = f"{SPECULATIVE}, right drafts", f"{SPECULATIVE}, wrong drafts"


def dense_names(variants: Sequence[tuple[str, Any]]) -> list[str]:
    """The rungs without a cache that ``variants`` ask for."""
    names = [variant(key, value) for key, value in variants]
    return [*names, KNOWN_DRAFTS, WRONG_DRAFTS] if SPECULATIVE in names else names


def arm_names(variants: Sequence[tuple[str, Any]] = ()) -> list[str]:
    """Names of ``build_arms``, known before there is a model (it leaves out the last where no reuse gives it)."""
    policies = [n for name in POLICIES for n in ([at_zero(name)] if name in AT_ZERO else []) + [name]]
    fixed = [f"fixed_ratio={ratio}" for ratio in FIXED_RATIOS]
    return [SCRIPT, EAGER, DENSE, *dense_names(variants), *policies, *fixed, MAC_RATIO_ARM]


def choose_names(names: Sequence[str], only: Sequence[str] | None) -> list[str]:
    """The names in ``only`` and every dense one; all where ``only`` is None.

    Raises:
        ValueError: an arm that does not exist.
    """
    if only is None:
        return list(names)
    unknown = sorted(set(only) - set(names))
    if unknown:
        raise ValueError(f"--arms: expected some of {list(names)}, got {unknown}")
    return [name for name in names if name in only or name.startswith(DENSE)]


def build_arms(
    loaded: LoadedModel,
    trace: FittedTrace | None,
    observation: Observation,
    variants: Sequence[tuple[str, Any]] = (),
) -> dict[str, Policy]:
    """All rungs, fixed ratios and policies on one set of weights.

    Args:
        variants: fields of ``LoadedModel`` (how calls are run) and their values, each for one more dense rung.
        trace: what policies go by in place of the model's own attention. observation: of any call; it sizes the arm
            of ``MAC_RATIO``, which is left out where no reuse gives that ratio.
    """
    arms: dict[str, Policy] = {
        SCRIPT: PlainPolicy(loaded, attentions=True),
        EAGER: PlainPolicy(loaded, attentions=False),
        DENSE: CachedPolicy(loaded, build_cache_policy("none")),
    }
    for key, value in variants:
        arms[variant(key, value)] = CachedPolicy(run_differently(loaded, {key: value}), build_cache_policy("none"))
    if SPECULATIVE in arms:
        arms[KNOWN_DRAFTS] = draft_arm(loaded, KnownDraftsPolicy)
        arms[WRONG_DRAFTS] = draft_arm(loaded, WrongDraftsPolicy)
    for name in POLICIES:
        cache = build_cache_policy(name)
        assert isinstance(cache, ReusePolicy)
        if name in AT_ZERO:
            arms[at_zero(name)] = policy_arm(loaded, ReuseNothing.around(cache), trace)
        arms[name] = policy_arm(loaded, cache, trace)
    ratios = {f"fixed_ratio={ratio}": ratio for ratio in FIXED_RATIOS}
    for name, ratio in {**ratios, MAC_RATIO_ARM: ratio_for_macs(loaded, observation, MAC_RATIO)}.items():
        if ratio is not None:
            numbers = {"reuse_ratio": ratio, "min_saving": 0.0, "max_backoff": 0}
            arms[name] = CachedPolicy(loaded, build_cache_policy("fixed_ratio", numbers))
    return arms


def ratio_for_macs(loaded: LoadedModel, observation: Observation, target: float) -> float | None:
    """The reuse ratio of ``fixed_ratio`` at which a whole call has 1 / target of the dense call's MACs, or None."""
    policy = CachedPolicy(loaded, build_cache_policy("none"))
    policy.reset(0)
    stats = policy.infer(observation).stats
    allowed = stats.macs / target - (stats.macs - stats.prefill_macs)
    config = loaded.model.config
    patches, shape = len(config.views) * config.grid[0] * config.grid[1], config.decoder.shape
    n, head_rows = stats.num_prompt_tokens, config.num_action_tokens if config.head == "l1_chunk" else 1
    for reused in range(patches + 1):
        if prefill_macs(shape, [n - reused] * shape.num_layers, n, head_rows) <= allowed:
            return reused / patches
    return None


@dataclass(frozen=True, slots=True)
class Rung:
    """One arm on the ladder; medians over the calls that used the cache (all warm calls of an arm that never did).

    Attributes:
        total_ms, p90_ms: by the policy's own clock (CUDA events on a GPU). wall_ms, wall_p90_ms: synchronised.
        stage_ms, stage_p90_ms: by stage.
        against_dense: time of the dense rung / of this one, call by call.
        macs: of a call. costs: work by stage that the floor is computed from. bytes: those of all stages.
        extra_bytes: peak memory beyond what was held before the call; None on a CPU.
        floor_ms: of its own work by stage, and ``total``; of the eager rungs that of the dense one.
        distance: total_ms / floor. floor_gain: floor of dense / own floor.
        share_of_floor_gain: against_dense / floor_gain.
        accepted_tokens: mean number of decode steps that a draft saved; None without drafts.
        runtime: how its calls were launched at the end. warmup_calls: timed calls that warmed up and are in no figure.
    """

    arm: str
    total_ms: float
    p90_ms: float
    wall_ms: float
    wall_p90_ms: float
    stage_ms: dict[str, float]
    stage_p90_ms: dict[str, float]
    against_dense: float
    macs: float
    bytes: float
    costs: dict[str, StageCost]
    extra_bytes: int | None
    floor_ms: dict[str, float]
    distance: float
    floor_gain: float
    share_of_floor_gain: float
    accepted_tokens: float | None
    runtime: str | None
    warmup_calls: int


def build_rung(arm: str, measured: Mapping[str, Measured], model: VLAModel, rates: DeviceRates) -> Rung:
    """Summarise one arm beside the dense one."""
    ours, dense = measured[arm], measured[DENSE]
    used = ours.used_cache()
    own = mean_costs(model, dense if arm in (SCRIPT, EAGER) else ours)
    floors, dense_floor = floor_ms(own, rates), floor_ms(mean_costs(model, dense), rates)["total"]
    total, wall = ours.column("total_ms")[used], ours.wall_ms()[used]
    against_dense = paired_ratio(ours, dense, "total_ms", used)
    floor_gain, accepted = dense_floor / floors["total"], ours.accepted()
    return Rung(
        arm=arm,
        total_ms=float(np.median(total)),
        p90_ms=float(np.percentile(total, 90)),
        wall_ms=float(np.median(wall)),
        wall_p90_ms=float(np.percentile(wall, 90)),
        stage_ms={stage: float(np.median(ours.column(f"{stage}_ms")[used])) for stage in STAGES},
        stage_p90_ms={stage: float(np.percentile(ours.column(f"{stage}_ms")[used], 90)) for stage in STAGES},
        against_dense=against_dense,
        macs=float(ours.column("macs")[used].mean()),
        bytes=sum(cost.bytes for cost in own.values()),
        costs=own,
        extra_bytes=ours.extra_bytes(),
        floor_ms=floors,
        distance=float(np.median(total)) / floors["total"],
        floor_gain=floor_gain,
        share_of_floor_gain=against_dense / floor_gain,
        accepted_tokens=None if np.isnan(accepted).all() else float(np.nanmean(accepted)),
        runtime=ours.calls[-1][-1].stats.runtime,
        warmup_calls=int((~ours.counts()).sum()),
    )


def mean_costs(model: VLAModel, measured: Measured) -> dict[str, StageCost]:
    """Mean work of the calls that used the cache."""
    used = measured.used_cache()
    calls = [call for episode in measured.calls for call in episode]
    costs = [call_costs(model, call.stats) for call, is_used in zip(calls, used.flat, strict=True) if is_used]
    return {
        stage: replace(
            costs[0][stage],
            macs=sum(c[stage].macs for c in costs) / len(costs),
            bytes=sum(c[stage].bytes for c in costs) / len(costs),
        )
        for stage in FLOOR_STAGES
    }
