"""What a run shows and what it does not, in sentences that never say more than the figures.

A difference that is not significant is never called equality; a speed-up is claimed only when its interval excludes 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runners.report.words import (
    NO_DATA,
    count_words,
    p_value,
    percent,
    points,
    points_range,
    ratio,
    ratio_range,
)
from runners.trained_on import warn_other_suite

SIGNIFICANCE = 0.05


def write_verdicts(summary: Mapping[str, Any]) -> list[str]:
    """Sentences for the foot of every table, in order of weight."""
    lines = [
        _warn_weights(summary),
        warn_other_suite(summary["suite"], summary["model"], summary["trained_on"]),
        *_judge_success(summary),
        _judge_non_inferiority(summary),
        _judge_speed(summary),
        _note_errors(summary),
        _note_retries(summary),
        _note_reused_baseline(summary),
        _note_differing_baseline(summary),
        _note_stage_sum(summary),
    ]
    return [line for line in lines if line is not None]


def _warn_weights(summary: Mapping[str, Any]) -> str | None:
    if summary["weights"] == "untrained":
        return (
            "Untrained weights: success says nothing about the cache. Latency and MACs hold at the reuse ratio shown; "
            "trained weights may reach another ratio."
        )
    if summary["weights"] == "none":
        return "Scripted policy from simulator state: it proves the plumbing and says nothing about any model."
    return None


def _judge_success(summary: Mapping[str, Any]) -> list[str]:
    pairs = summary["num_episodes"]
    if pairs == 0:
        return ["No scored pair: no rate and no comparison."]
    if summary["mirrored"]:
        return ["cache=none runs one arm: nothing is compared."]
    success = summary["success_rate"]
    if success["policy"] == success["baseline"] == 0.0:
        return [f"No success in either arm ({count_words(pairs, 'pair')}): success cannot be compared."]
    interval = f"95 % interval {points_range(success['difference_ci95'])} points"
    if success["mcnemar_p"] < SIGNIFICANCE:
        word = "lower" if success["difference"] < 0 else "higher"
        return [
            f"Success is {word} with the cache: {points(success['difference'])} over {count_words(pairs, 'pair')} "
            f"({interval}; exact McNemar {p_value(success['mcnemar_p'])})."
        ]
    return [
        f"No difference in success shown over {count_words(pairs, 'pair')} (exact McNemar "
        f"{p_value(success['mcnemar_p'])}); that is not proof of equality: {interval}."
    ]


def _judge_non_inferiority(summary: Mapping[str, Any]) -> str | None:
    """One sentence over all margins; none where success cannot be compared at all."""
    found, success, pairs = summary["non_inferiority"], summary["success_rate"], summary["num_episodes"]
    if found is None or found["lower95"] is None or success["policy"] == success["baseline"] == 0.0:
        return None
    verdicts = "; at ".join(_margin_words(item) for item in found["margins"])
    speed = "" if summary["speedup"]["end_to_end"] is None else f", speed-up {ratio(summary['speedup']['end_to_end'])}"
    return (
        f"Non-inferior to no cache at {verdicts}. One-sided 95 % lower limit of the difference "
        f"{points(found['lower95'])} over {count_words(pairs, 'pair')}, reuse ratio {percent(summary['reuse_ratio'])}"
        f"{speed}."
    )


def _margin_words(item: Mapping[str, Any]) -> str:
    basis = "" if item["basis"] is None else f" ({item['basis']})"
    return f"{item['words']}: {item['verdict'] or NO_DATA}{basis}"


def _judge_speed(summary: Mapping[str, Any]) -> str | None:
    speedup = summary["speedup"]
    value, interval = speedup["end_to_end"], speedup["end_to_end_ci95"]
    if summary["mirrored"]:
        return None
    if value is None:
        return "No speed-up: no pair was timed in both arms of this run."
    basis = f"{count_words(speedup['num_pairs'], 'pair')}, {summary['device']}"
    if interval is None:
        return f"Speed-up end to end {ratio(value)} from {basis}: too few pairs for an interval, so nothing is claimed."
    measured = f"{ratio(value)} {ratio_range(interval)} from {basis}"
    if interval[0] > 1.0:
        return f"Policy calls are faster on average, end to end: {measured}."
    if interval[1] < 1.0:
        return f"Policy calls are SLOWER on average, end to end: {measured}."
    return f"No change in mean end-to-end speed shown: {measured}."


def _note_errors(summary: Mapping[str, Any]) -> str | None:
    if summary["num_errors"] == 0:
        return None
    rates = summary["success_rate_errors_as_failures"]
    return (
        f"{count_words(summary['num_errors'], 'episode')} ended in an error: "
        f"{count_words(summary['num_pairs_dropped_error'], 'pair')} left out of every figure above. With errors "
        f"counted as failures: policy {percent(rates['policy'])}, baseline {percent(rates['baseline'])}."
    )


def _note_retries(summary: Mapping[str, Any]) -> str | None:
    number = summary["num_errors_retried"]
    if number == 0:
        return None
    return f"{count_words(number, 'error')} tried again; only the last attempt of an episode counts."


def _note_reused_baseline(summary: Mapping[str, Any]) -> str | None:
    number = summary["num_reused_baseline"]
    if number == 0:
        return None
    return (
        f"{count_words(number, 'baseline episode')} copied from {', '.join(summary['reused_from'])}: they count for "
        f"success, not for latency ({count_words(summary['speedup']['num_pairs'], 'pair')} timed in this run)."
    )


def _note_differing_baseline(summary: Mapping[str, Any]) -> str | None:
    number = summary["num_differing_baseline"]
    if number == 0:
        return None
    return (
        f"{count_words(number, 'baseline episode')} ended here otherwise than in the run that the others were copied "
        "from: the baseline is not deterministic, and the paired difference carries that noise."
    )


def _note_stage_sum(summary: Mapping[str, Any]) -> str | None:
    gaps = {arm: check for arm, check in summary["stage_sum"].items() if check["ok"] is False}
    if len(gaps) == 0:
        return None
    arms = ", ".join(f"{arm} {percent(check['relative_gap'])}" for arm, check in gaps.items())
    return f"Stage times do not add up to the total within 2 % ({arms} apart): do not trust the stage rows."
