"""The latency ledger and the cost of policy calls: pure functions of call rows. No data gives None, never 0."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from runners.report.pairs import ARMS
from vlacache.types import STAGES

STAGE_COLUMNS = tuple(f"{stage}_ms" for stage in STAGES)
#: Stage times must add up to the synchronised total within this share.
STAGE_SUM_TOLERANCE = 0.02


def policy_calls(steps: pd.DataFrame) -> pd.DataFrame:
    """One row per policy call, with ``executed``: the actions of its chunk that were sent to the simulator."""
    executed = steps.groupby(["slug", "call_index"])["step"].transform("size")
    calls = steps.assign(executed=executed)[steps["policy_call"].astype(bool)].copy()
    calls["is_warmup"] = calls["is_warmup"].astype(bool)
    calls["is_cold"] = calls["call_index"] == 0
    return calls.reset_index(drop=True)


def arm_calls(calls: pd.DataFrame, pairs: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Calls of one arm in the scored pairs, warm-up included."""
    return calls[calls["slug"].isin(pairs.loc[pairs["scored"], f"slug_{arm}"])]


def timed_pairs(calls: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Scored pairs of which both arms have timed calls of this run: the episodes that latencies are compared on."""
    has_time = set(timed_calls(calls)["slug"])
    both = pairs["slug_policy"].isin(has_time) & pairs["slug_baseline"].isin(has_time)
    return pairs[pairs["scored"] & both]


def timed_calls(calls: pd.DataFrame) -> pd.DataFrame:
    """Calls whose time counts: no warm-up, and no episode copied from another run."""
    return calls[~calls["is_warmup"] & calls["reused_from"].isna()]


def ledger_calls(calls: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Arm -> timed calls behind every latency figure.

    They come from the pairs timed in both arms. Where there are none (a wholly reused baseline), each arm shows its
    own timed calls and no speed-up follows.
    """
    both = timed_pairs(calls, pairs)
    source = both if len(both) > 0 else pairs
    return {arm: timed_calls(arm_calls(calls, source, arm)) for arm in ARMS}


def describe_latency(values: pd.Series) -> dict[str, float | None]:
    """p50, p90, p99 (linear interpolation) and mean, in the unit of ``values``."""
    names = ("p50", "p90", "p99", "mean")
    if len(values) == 0:
        return dict.fromkeys(names)
    array = values.to_numpy(dtype=float)
    p50, p90, p99 = np.percentile(array, [50, 90, 99])
    return dict(zip(names, map(float, (p50, p90, p99, array.mean())), strict=True))


def stage_means(calls: pd.DataFrame) -> dict[str, float | None]:
    """Mean milliseconds per call of every stage; None for all when no stage was timed (a scripted policy)."""
    if len(calls) == 0 or not has_stage_times(calls):
        return dict.fromkeys(STAGES)
    return {stage: float(calls[f"{stage}_ms"].mean()) for stage in STAGES}


def has_stage_times(calls: pd.DataFrame) -> bool:
    """False for a policy that reports only its total."""
    return bool((calls[list(STAGE_COLUMNS)].to_numpy(dtype=float) > 0.0).any())


def check_stage_sum(calls: pd.DataFrame) -> dict[str, Any]:
    """Do the stages add up? ``relative_gap`` is over all calls together; ``calls_over`` counts single calls."""
    if len(calls) == 0 or not has_stage_times(calls):
        return {"relative_gap": None, "calls_over": None, "ok": None}
    parts = calls[list(STAGE_COLUMNS)].to_numpy(dtype=float).sum(axis=1)
    total = calls["total_ms"].to_numpy(dtype=float)
    gap = float(abs(parts.sum() - total.sum()) / total.sum())
    over = int((np.abs(parts - total) > STAGE_SUM_TOLERANCE * total).sum())
    return {"relative_gap": gap, "calls_over": over, "ok": gap <= STAGE_SUM_TOLERANCE}


def policy_limited_hz(calls: pd.DataFrame) -> float | None:
    """Executed actions per second of policy time: the rate if the simulator took no time."""
    seconds = float(calls["total_ms"].sum()) / 1e3
    return None if seconds == 0.0 else float(calls["executed"].sum()) / seconds


def achieved_hz(episodes: pd.DataFrame) -> float | None:
    """Executed actions per second of episode wall time, simulator and rendering included."""
    own = episodes[episodes["reused_from"].isna()]
    seconds = float(own["wall_s"].sum())
    return None if seconds == 0.0 else float(own["num_steps"].sum()) / seconds


def values_by_pair(calls: pd.DataFrame, slugs: pd.Series, column: str) -> list[NDArray[np.float64]]:
    """Values of ``column`` in the calls of each episode of ``slugs``, in that order."""
    groups = {slug: group.to_numpy(dtype=float) for slug, group in calls.groupby("slug")[column]}
    return [groups[slug] for slug in slugs]


def describe_fallback(calls: pd.DataFrame) -> dict[str, Any]:
    """How many calls used the cache, and the reasons of those that did not."""
    if len(calls) == 0:
        return {"calls": 0, "share": None, "by_reason": {}}
    reasons = calls["fallback"].dropna().value_counts().sort_index()
    by_reason = {str(name): {"calls": int(n), "share": float(n) / len(calls)} for name, n in reasons.items()}
    return {"calls": len(calls), "share": float(reasons.sum()) / len(calls), "by_reason": by_reason}


def mean_reuse_ratio(calls: pd.DataFrame) -> float | None:
    """Mean reuse ratio over all calls, cold and fallback calls included; None without a prompt to reuse from."""
    return mean_or_none(calls.loc[calls["num_prompt_tokens"] > 0, "reuse_ratio"])


def mean_macs(calls: pd.DataFrame, column: str = "macs") -> float | None:
    """Mean multiply-accumulates per call; None when the policy does not count them."""
    return mean_or_none(calls.loc[calls["macs"] > 0, column])


def mean_accepted_tokens(calls: pd.DataFrame) -> float | None:
    """Mean decode steps that the draft saved, over the calls that had one; None without speculative decoding."""
    return mean_or_none(calls["accepted_tokens"].dropna())


def runtimes(calls: pd.DataFrame) -> list[str]:
    """How the calls were launched, every way that occurs; empty for records that do not say."""
    return sorted(map(str, calls["runtime"].dropna().unique()))


def mean_or_none(values: pd.Series) -> float | None:
    """Mean, or None of nothing."""
    return None if len(values) == 0 else float(values.to_numpy(dtype=float).mean())


def max_or_none(values: pd.Series) -> float | None:
    """Largest value, or None when there is none or nothing was measured (all 0)."""
    top = values.max() if len(values) > 0 else 0
    return None if math.isnan(top) or top == 0 else float(top)


def single_clock(calls: pd.DataFrame) -> str | None:
    """``cpu`` or ``cuda_event``.

    Raises:
        ValueError: calls of both clocks in one run; their times are not comparable.
    """
    clocks = sorted(calls["clock"].dropna().unique())
    if len(clocks) > 1:
        raise ValueError(f"clock: expected one clock in a run, got {clocks}; report each device's run apart")
    return clocks[0] if len(clocks) == 1 else None
