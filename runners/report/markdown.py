"""``report.md``: one page that says what was run, what was measured, and how each figure is defined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runners.report.definitions import DEFINITIONS
from runners.report.success_rules import RULES
from runners.report.words import (
    baseline_words,
    clock_words,
    count_words,
    figure,
    has_stages,
    join_words,
    macs_words,
    milliseconds,
    model_words,
    p_value,
    percent,
    percent_range,
    points,
    points_range,
    ratio,
    ratio_range,
    size_words,
    suite_words,
)
from vlacache.types import STAGES

_PLOT_TEXT = {
    "success.png": "Success per task",
    "latency_stages.png": "Latency by stage",
    "latency_calls.png": "Latency over the episode and over the run",
    "reuse.png": "Reuse ratio over the episode and per layer",
}


def format_markdown(summary: Mapping[str, Any], run: Mapping[str, Any], plots: Sequence[str]) -> str:
    """The report of one run as Markdown with relative links to its plots."""
    sections = [
        f"# {suite_words(summary)} · {model_words(summary)} · cache {summary['cache']}",
        _describe(summary),
        "\n".join(f"- {line}" for line in summary["verdicts"]),
        "## Success",
        _success_table(summary),
        _pair_table(summary),
        _rule_table(summary),
        "## Latency of a policy call",
        _latency_table(summary),
        *_cache_sections(summary),
        *_images(plots),
        "## Per task",
        _task_table(summary),
        _stand_in_lines(summary),
        _family_table(summary),
        _setting_table(summary),
        _error_table(summary),
        "## Definitions",
        DEFINITIONS.rstrip(),
        "## Provenance",
        _provenance(summary, run),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; the first ``left`` columns are left-aligned, the others right-aligned."""
    marks = [":--" if i < left else "--:" for i in range(len(header))]
    lines = [header, marks, *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _describe(summary: Mapping[str, Any]) -> str:
    return (
        f"Run `{summary['run_id']}`: {size_words(summary)}, assets {summary['assets']}, "
        f"{summary['device']} ({clock_words(summary['clock'])}), {summary['dtype']}, "
        f"{count_words(summary['num_errors'], 'error episode')}."
    )


def _success_table(summary: Mapping[str, Any]) -> str:
    success, counts, total = summary["success_rate"], summary["success_counts"], summary["num_episodes"]
    rows = [
        [name, f"{counts[arm]}/{total}", percent(success[arm]), percent_range(success[f"{arm}_ci95"])]
        for name, arm in _arms(summary)
    ]
    if not summary["mirrored"]:
        note, interval = p_value(success["mcnemar_p"]), points_range(success["difference_ci95"])
        rows.append(["difference", note, points(success["difference"]), interval])
    return table(["arm", "k/n", "success", "95 % interval"], rows)


def _arms(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(heading, arm) of each column; a run with one arm has one."""
    arms = [(baseline_words(summary), "baseline")]
    return arms if summary["mirrored"] else [*arms, (str(summary["cache"]), "policy")]


def _pair_table(summary: Mapping[str, Any]) -> str:
    outcomes = {name: str(number) for name, number in summary["pair_outcomes"].items()}
    if summary["mirrored"]:
        return ""
    cache = str(summary["cache"])
    return table(
        ["pairs", "no cache succeeds", "no cache fails"],
        [
            [f"{cache} succeeds", outcomes["both"], outcomes["only_policy"]],
            [f"{cache} fails", outcomes["only_baseline"], outcomes["neither"]],
        ],
    )


def _rule_table(summary: Mapping[str, Any]) -> str:
    """Success by every rule, where the episodes ran to their end whatever happened before."""
    rules = summary.get("success_by_rule")
    if rules is None:
        return ""
    arms = [(name, rules[arm]) for name, arm in _arms(summary) if arm in rules]
    rows = [[name, *_rule_cells(counts)] for name, counts in arms]
    for task in summary["tasks"]:
        key = str(task["task_id"])
        rows += [
            [f"task {key}, {name}", *_rule_cells(counts["tasks"][key])]
            for name, counts in arms
            if key in counts["tasks"]
        ]
    return table(["success by rule", "at the last step", "at any step", "first success ends"], rows)


def _rule_cells(counts: Mapping[str, int]) -> list[str]:
    return [f"{counts[rule]}/{counts['num']}" for rule in RULES]


def _latency_table(summary: Mapping[str, Any]) -> str:
    speedup, calls = summary["speedup"], summary["calls"]
    arms = [arm for _, arm in _arms(summary)]
    rows = [
        [f"end to end, {name} (ms)", *(milliseconds(summary["latency_ms"][arm][name]) for arm in arms)]
        for name in ("mean", "p50", "p90", "p99")
    ]
    if has_stages(summary):
        rows += [
            [f"{stage}, mean (ms)", *(milliseconds(summary["stage_ms"][arm][stage]) for arm in arms)]
            for stage in STAGES
        ]
    rows += [
        ["control rate, policy-limited (Hz)", *(figure(summary["control_hz"][arm]) for arm in arms)],
        ["control rate, achieved (Hz)", *(figure(summary["achieved_hz"][arm]) for arm in arms)],
    ]
    if any(summary["accepted_tokens"][arm] is not None for arm in arms):
        accepted = [figure(summary["accepted_tokens"][arm], 2) for arm in arms]
        rows.append(["draft tokens accepted (decode steps saved), mean", *accepted])
    if any(how != "eager" for arm in arms for how in summary["runtime"][arm]):
        rows.append(["launched as", *(" / ".join(summary["runtime"][arm]) or "unknown" for arm in arms)])
    for label, name in (("timed calls", "timed"), ("of them cold", "cold"), ("warm-up left out", "warmup_excluded")):
        if name != "warmup_excluded" or any(calls[arm][name] > 0 for arm in arms):
            rows.append([label, *(str(calls[arm][name]) for arm in arms)])
    timings = table(["", *(name for name, _ in _arms(summary))], rows)
    if summary["mirrored"]:
        return timings
    speed = [
        [label, ratio(speedup[name]), ratio_range(speedup[f"{name}_ci95"]), ratio(speedup[f"{name}_median"])]
        for label, name in (("end to end", "end_to_end"), ("prefill", "prefill"))
    ]
    return timings + "\n\n" + table(["speed-up", "ratio of means", "95 % interval", "ratio of medians"], speed)


def _cache_sections(summary: Mapping[str, Any]) -> list[str]:
    """Nothing where no cache was compared; the MACs of a model alone are still given."""
    if not summary["mirrored"]:
        return ["## Cache", _cache_table(summary), _fallback_line(summary)]
    macs = summary["macs"]["baseline"]
    return [] if macs is None or summary["weights"] == "none" else [f"MACs per call: {macs_words(macs)}."]


def _cache_table(summary: Mapping[str, Any]) -> str:
    rows = [
        ["reuse ratio, all calls", percent(summary["reuse_ratio"])],
        ["reuse ratio, calls that used the cache", percent(summary["reuse_ratio_when_cached"])],
        ["calls that fell back to the dense path", percent(summary["fallback"]["share"])],
        *_object_rows(summary.get("object_patches")),
        ["oldest K/V read, policy calls ago (mean, max)", _age_words(summary["max_age"])],
        ["MACs per call, no cache", macs_words(summary["macs"]["baseline"])],
        ["MACs per call, with the cache", macs_words(summary["macs"]["policy"])],
    ]
    return table(["", str(summary["cache"])], rows)


def _object_rows(objects: Mapping[str, Any] | None) -> list[list[str]]:
    """Nothing where the simulator does not tell which pixels show an object."""
    if objects is None:
        return []
    words = f"{percent(objects['static_share'])} of {figure(objects['patches'])} a call"
    return [["patches on movable objects called static", words]]


def _age_words(age: Mapping[str, float | None]) -> str:
    return join_words(figure(age["mean"]) + ",", figure(age["max"], 0))


def _fallback_line(summary: Mapping[str, Any]) -> str:
    reasons = summary["fallback"]["by_reason"]
    if len(reasons) == 0:
        return ""
    parts = [f"{name} {item['calls']} ({percent(item['share'])})" for name, item in reasons.items()]
    return f"Fallback calls by reason: {', '.join(parts)}."


def _images(plots: Sequence[str]) -> list[str]:
    return [f"![{_PLOT_TEXT.get(path.rsplit('/', 1)[-1], path)}]({path})" for path in plots]


def _task_table(summary: Mapping[str, Any]) -> str:
    rows = [[str(task["task_id"]), task["name"], *_part_cells(summary, task)] for task in summary["tasks"]]
    return table(["task", "instruction", *_part_header(summary)], rows, left=2)


def _setting_table(summary: Mapping[str, Any]) -> str:
    """Nothing where a suite varies nothing around its tasks."""
    if len(summary["settings"]) == 0:
        return ""
    rows = [[part["setting"], *_part_cells(summary, part)] for part in summary["settings"]]
    return "## Per setting\n\n" + table(["setting", *_part_header(summary)], rows)


def _part_header(summary: Mapping[str, Any]) -> list[str]:
    compared = [] if summary["mirrored"] else ["difference"]
    return [*(name for name, _ in _arms(summary)), *compared, "dropped for errors"]


def _part_cells(summary: Mapping[str, Any], part: Mapping[str, Any]) -> list[str]:
    success, total = part["success_rate"], part["num_episodes"]
    cells = [
        join_words(f"{part['success_counts'][arm]}/{total}", percent_range(success[f"{arm}_ci95"], 0))
        for _, arm in _arms(summary)
    ]
    difference = [] if summary["mirrored"] else [points(success["difference"])]
    return [*cells, *difference, str(part["num_pairs_dropped_error"])]


def _family_table(summary: Mapping[str, Any]) -> str:
    """The rows of SIMPLER's published tables; nothing for other suites."""
    if len(summary["families"]) == 0:
        return ""
    rows = [
        [
            row["name"] if row["complete"] else f"{row['name']} (in part)",
            ", ".join(str(task) for task in row["task_ids"]),
            *(percent(row["success_rate"][arm]) for _, arm in _arms(summary)),
        ]
        for row in summary["families"]
    ]
    header = ["mean over tasks, as SIMPLER publishes", "tasks", *(name for name, _ in _arms(summary))]
    return table(header, rows)


def _stand_in_lines(summary: Mapping[str, Any]) -> str:
    parts = [f"task {item['task_id']}: {', '.join(item['names'])}" for item in summary["stand_ins"]]
    return f"Shown with a mesh or texture that is not the original's: {'; '.join(parts)}." if parts else ""


def _error_table(summary: Mapping[str, Any]) -> str:
    if len(summary["errors"]) == 0:
        return ""
    rows = [[f"`{item['episode']}`", item["error"]] for item in summary["errors"]]
    return "## Errors\n\n" + table(["episode", "last line of its traceback"], rows, left=2)


def _memory_words(size: float | None) -> str:
    return figure(None if size is None else size / 2**20, 0, " MiB")


def _provenance(summary: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    rows = [
        ["created", str(run["created_at"])],
        ["git commit", str(run["git_commit"] or "unknown")],
        ["config hash", str(run["config_hash"])],
        ["checkpoint", str(run.get("checkpoint") or "none")],
        ["process peak memory (the run, both arms)", _memory_words(summary["process_peak_memory_bytes"])],
        ["placement", str(summary["placement"])],
        *([f"version of {name}" if name != "machine" else name, str(v)] for name, v in sorted(run["versions"].items())),
        *([f"cache.{name}", str(value)] for name, value in sorted(summary["resolved_cache"].items())),
    ]
    return table(["", ""], rows, left=2)
