"""``summary.json``: every figure of a run, each recomputable from the records. Derived, never stored as truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from runners.report import ledger, stats
from runners.report.episode_rules import episode_rules
from runners.report.load import RunFrames
from runners.report.non_inferiority import MARGINS, Margin, summarize_non_inferiority
from runners.report.object_patches import summarize_object_patches
from runners.report.pairs import ARMS, count_dropped, count_outcomes, is_mirrored, pair_episodes
from runners.report.planned import order_ends, planned_pairs
from runners.report.simpler_tables import summarize_families, summarize_stand_ins
from runners.report.success_rules import success_by_rule
from runners.report.verdicts import write_verdicts
from runners.suite_names import TASK_NAMES
from vlacache.types import STAGES

SUMMARY_VERSION = 1


def build_summary(frames: RunFrames, margins: Sequence[Margin] = MARGINS) -> dict[str, Any]:
    """All figures of a run as one JSON-ready dict; a figure without data is None.

    Success, reuse and MACs are over the scored pairs (both arms ended without an error); latencies over those of them
    that were timed in this run in both arms. ``margins``: on which non-inferiority is judged.
    """
    mirrored = is_mirrored(frames.episodes, frames.run["cache"])
    pairs = pair_episodes(frames.episodes, mirrored=mirrored)
    calls = ledger.policy_calls(frames.steps)
    tasks = [_summarize_task(rows, mirrored) for _, rows in pairs.groupby("task_id", sort=True)]
    cache = _summarize_cache(calls, pairs)
    reused = cache["reuse_ratio"] != 0.0
    summary = {
        **_describe_run(frames, calls),
        **_summarize_episodes(frames, pairs, mirrored),
        **_summarize_success(pairs, mirrored),
        "success_by_rule": success_by_rule(frames),
        "non_inferiority": None if mirrored else _judge_margins(frames, pairs, margins, reused=reused),
        **_summarize_latency(frames, calls, pairs, mirrored),
        **cache,
        "tasks": tasks,
        "families": summarize_families(frames.run["suite"], tasks),
        "settings": [_summarize_setting(rows, mirrored) for _, rows in pairs.groupby("setting", sort=False)],
        "stand_ins": summarize_stand_ins(frames.episodes),
    }
    summary["verdicts"] = write_verdicts(summary)
    return summary


def _judge_margins(
    frames: RunFrames, pairs: pd.DataFrame, margins: Sequence[Margin], *, reused: bool
) -> dict[str, Any]:
    plan = planned_pairs(frames.run)
    return summarize_non_inferiority(order_ends(pairs, plan), margins, plan.available, plan.choice, reused=reused)


def _describe_run(frames: RunFrames, calls: pd.DataFrame) -> dict[str, Any]:
    run, assets = frames.run, frames.run["assets"]
    return {
        "summary_version": SUMMARY_VERSION,
        "run_id": run["run_id"],
        "suite": run["suite"],
        "model": run["model"],
        "weights": run["weights"],
        "trained_on": run.get("trained_on", []),
        "checkpoint": run.get("checkpoint"),
        "dtype": run.get("dtype"),
        "cache": run["cache"],
        "resolved_cache": run.get("resolved_cache", {}),
        "assets": assets_label(assets),
        "assets_provenance": assets,
        "episode_rules": episode_rules(run["config"]),
        "num_layers": int(run.get("num_layers", 0)),
        "placement": _only_value(frames.episodes, "placement"),
        "reseed": _only_value(frames.episodes, "reseed"),
        "device": run["device"],
        "machine": run["versions"].get("machine"),
        "clock": ledger.single_clock(calls),
        "config_hash": run["config_hash"],
        "git_commit": run["git_commit"],
    }


def _only_value(episodes: pd.DataFrame, column: str) -> str | None:
    """The value that all episodes share (``load_run`` refuses mixtures); None before the first episode."""
    return None if len(episodes) == 0 else str(episodes[column].iloc[0])


def assets_label(assets: dict[str, str]) -> str:
    """``builtin@1a2b3c4d/fast`` or ``none``, as ``AssetProvenance.label`` writes it."""
    if assets.get("source") == "none":
        return "none"
    return f"{assets.get('source', '?')}@{assets.get('digest', '')[:8]}/{assets.get('render', '?')}"


def _summarize_episodes(frames: RunFrames, pairs: pd.DataFrame, mirrored: bool) -> dict[str, Any]:
    episodes = frames.episodes
    errors, unfinished = count_dropped(pairs)
    baseline = episodes[episodes["arm"] == "baseline"]
    sources = sorted(baseline["reused_from"].dropna().unique())
    return {
        "num_episodes": int(pairs["scored"].sum()),
        "num_errors": int((episodes["status"] == "error").sum()),
        "num_errors_by_arm": {arm: int((pairs[f"status_{arm}"] == "error").sum()) for arm in ARMS},
        "num_pairs_dropped_error": errors,
        "num_pairs_unfinished": unfinished,
        "num_errors_retried": int((frames.superseded["status"] == "error").sum()),
        "errors": _list_errors(episodes),
        "num_reused_baseline": int(baseline["reused_from"].notna().sum()),
        "num_differing_baseline": int((baseline["differs_from"].notna()).sum()),
        "reused_from": sources,
        "mirrored": mirrored,
    }


def _list_errors(episodes: pd.DataFrame) -> list[dict[str, str]]:
    """Episode and last line of the traceback of every error; the whole of it is in ``episodes.jsonl``."""
    rows = episodes[episodes["status"] == "error"]
    last_lines = [(str(text or "").strip().splitlines() or [""])[-1] for text in rows["error"]]
    return [{"episode": slug, "error": line} for slug, line in zip(rows["slug"], last_lines, strict=True)]


def _summarize_success(pairs: pd.DataFrame, mirrored: bool) -> dict[str, Any]:
    counts = count_outcomes(pairs)
    successes = {
        "policy": counts.both + counts.only_policy,
        "baseline": counts.both + counts.only_baseline,
    }
    rates = {arm: successes[arm] / counts.total if counts.total > 0 else None for arm in ARMS}
    return {
        "success_rate": {
            **rates,
            "difference": stats.paired_difference(counts),
            "mcnemar_p": stats.mcnemar_p(counts),
            "policy_ci95": _as_list(stats.wilson_interval(successes["policy"], counts.total)),
            "baseline_ci95": _as_list(stats.wilson_interval(successes["baseline"], counts.total)),
            "difference_ci95": None if mirrored else _as_list(stats.paired_difference_interval(counts)),
        },
        "success_counts": successes,
        "pair_outcomes": counts._asdict(),
        "success_rate_errors_as_failures": _rates_with_errors(pairs),
    }


def _rates_with_errors(pairs: pd.DataFrame) -> dict[str, float | None]:
    """The other convention, shown beside ours: every ended episode counts, an error as a failure."""
    statuses = {arm: pairs[f"status_{arm}"].dropna() for arm in ARMS}
    return {arm: ledger.mean_or_none((statuses[arm] == "success").astype(float)) for arm in ARMS}


def _summarize_latency(frames: RunFrames, calls: pd.DataFrame, pairs: pd.DataFrame, mirrored: bool) -> dict[str, Any]:
    timed = ledger.ledger_calls(calls, pairs)
    slugs = {arm: pairs.loc[pairs["scored"], f"slug_{arm}"] for arm in ARMS}
    own = {arm: frames.episodes[frames.episodes["slug"].isin(slugs[arm])] for arm in ARMS}
    everything = {arm: ledger.arm_calls(calls, pairs, arm) for arm in ARMS}
    return {
        "latency_ms": {arm: ledger.describe_latency(timed[arm]["total_ms"]) for arm in ARMS},
        "stage_ms": {arm: ledger.stage_means(timed[arm]) for arm in ARMS},
        "stage_latency_ms": {arm: _describe_stages(timed[arm]) for arm in ARMS},
        "stage_sum": {arm: ledger.check_stage_sum(timed[arm]) for arm in ARMS},
        "speedup": _summarize_speedup(calls, pairs, mirrored),
        "control_hz": {arm: ledger.policy_limited_hz(timed[arm]) for arm in ARMS},
        "achieved_hz": {arm: ledger.achieved_hz(own[arm]) for arm in ARMS},
        "actions_per_call": {arm: ledger.mean_or_none(timed[arm]["executed"]) for arm in ARMS},
        "cold_latency_ms": {
            arm: ledger.describe_latency(timed[arm].loc[timed[arm]["is_cold"], "total_ms"]) for arm in ARMS
        },
        "calls": {arm: _count_calls(everything[arm], timed[arm]) for arm in ARMS},
    }


def _describe_stages(calls: pd.DataFrame) -> dict[str, Any]:
    if not ledger.has_stage_times(calls):
        return {stage: ledger.describe_latency(calls["total_ms"].iloc[:0]) for stage in STAGES}
    return {stage: ledger.describe_latency(calls[f"{stage}_ms"]) for stage in STAGES}


def _count_calls(everything: pd.DataFrame, timed: pd.DataFrame) -> dict[str, int]:
    """Calls behind the latency columns and those left out; cold calls (first of an episode) are in."""
    return {
        "timed": len(timed),
        "cold": int(timed["is_cold"].sum()),
        "warmup_excluded": int(everything["is_warmup"].sum()),
        "reused_excluded": int(everything["reused_from"].notna().sum()),
    }


def _summarize_speedup(calls: pd.DataFrame, pairs: pd.DataFrame, mirrored: bool) -> dict[str, Any]:
    """Mean time of a call, baseline / policy, over the pairs timed in both arms; bootstrap intervals draw pairs.

    ``*_median`` is the ratio of the medians: how much faster the usual call is, without the slow minority.
    """
    both = ledger.timed_pairs(calls, pairs)
    timed = ledger.timed_calls(calls)
    result: dict[str, Any] = {"num_pairs": len(both)}
    for name, column in (("end_to_end", "total_ms"), ("prefill", "prefill_ms")):
        baseline, policy = (ledger.values_by_pair(timed, both[f"slug_{arm}"], column) for arm in ("baseline", "policy"))
        result[name] = stats.ratio_of_means(baseline, policy)
        interval = None if mirrored else stats.bootstrap_ratio_of_means(baseline, policy)
        result[f"{name}_ci95"] = _as_list(interval)
        result[f"{name}_median"] = stats.ratio_of_medians(baseline, policy)
    return result


def _summarize_cache(calls: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, Any]:
    """What the policy reused and what it cost, over every call of the scored pairs (warm-up included: no time)."""
    arms = {arm: ledger.arm_calls(calls, pairs, arm) for arm in ARMS}
    policy = arms["policy"]
    macs = {arm: ledger.mean_macs(arms[arm]) for arm in ARMS}
    return {
        "reuse_ratio": ledger.mean_reuse_ratio(policy),
        "reuse_ratio_when_cached": ledger.mean_reuse_ratio(policy[policy["fallback"].isna()]),
        "fallback": ledger.describe_fallback(policy),
        "object_patches": summarize_object_patches(policy),
        "max_age": {"mean": ledger.mean_or_none(policy["max_age"]), "max": ledger.max_or_none(policy["max_age"])},
        "macs": macs,
        "flops": {arm: None if value is None else 2.0 * value for arm, value in macs.items()},
        "prefill_macs": {arm: ledger.mean_macs(arms[arm], "prefill_macs") for arm in ARMS},
        "accepted_tokens": {arm: ledger.mean_accepted_tokens(arms[arm]) for arm in ARMS},
        "runtime": {arm: ledger.runtimes(ledger.timed_calls(arms[arm])) for arm in ARMS},
        "prompt_tokens": {arm: ledger.max_or_none(arms[arm]["num_prompt_tokens"]) for arm in ARMS},
        # Both arms live in one process and the peak is never reset: one number for the run, none for an arm.
        "process_peak_memory_bytes": ledger.max_or_none(calls["peak_memory_bytes"]),
    }


def _summarize_task(rows: pd.DataFrame, mirrored: bool) -> dict[str, Any]:
    task_id, instruction = int(rows["task_id"].iloc[0]), str(rows["instruction"].iloc[0])
    names = TASK_NAMES.get(str(rows["suite"].iloc[0]))
    return {
        "task_id": task_id,
        "instruction": instruction,
        "name": instruction if names is None else names[task_id],
        **_summarize_part(rows, mirrored),
    }


def _summarize_setting(rows: pd.DataFrame, mirrored: bool) -> dict[str, Any]:
    return {"setting": str(rows["setting"].iloc[0]), **_summarize_part(rows, mirrored)}


def _summarize_part(rows: pd.DataFrame, mirrored: bool) -> dict[str, Any]:
    success = _summarize_success(rows, mirrored)
    return {
        "num_episodes": int(rows["scored"].sum()),
        "num_pairs_dropped_error": count_dropped(rows)[0],
        "success_rate": success["success_rate"],
        "success_counts": success["success_counts"],
    }


def _as_list(interval: stats.Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]
