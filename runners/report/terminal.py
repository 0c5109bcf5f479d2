"""The table on the terminal: at most 100 columns, plain text when the output is not a terminal."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from runners.report.palette import cache_color
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

MAX_WIDTH = 100
#: Label, no cache, policy, and what the comparison says.
Row = tuple[str, str, str, str]
#: For outputs that cannot write Unicode.
_ASCII = str.maketrans({"─": "-", "·": "|", "•": "*", "└": " ", "…": "~"})


def print_report(run_dir: str | Path, file: TextIO | None = None) -> None:
    """Print the table of a run from its ``summary.json`` (written by ``write_report``)."""
    path = Path(run_dir) / "summary.json"
    if not path.exists():
        raise FileNotFoundError(f"{path}: missing; write the report first (scripts/report.py {run_dir})")
    print_summary(json.loads(path.read_text(encoding="utf-8")), file)


def print_summary(summary: Mapping[str, Any], file: TextIO | None = None) -> None:
    """Print the table of a summary to ``file`` (default: standard output)."""
    stream = sys.stdout if file is None else file
    terminal = Console(file=stream)
    width = min(MAX_WIDTH, terminal.width) if terminal.is_terminal else MAX_WIDTH
    text = format_table(summary, width=width, color=terminal.is_terminal)
    print_text(text, stream)


def print_text(text: str, stream: TextIO) -> None:
    """Write ``text``, in ASCII when the stream cannot encode it."""
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "")
    stream.write(text if encoding.startswith("utf") else text.translate(_ASCII))


def format_table(summary: Mapping[str, Any], *, width: int = MAX_WIDTH, color: bool = False) -> str:
    """The report of one run as text of at most ``width`` columns."""
    verdicts = [bullet(line) for line in summary["verdicts"]]
    return render(["", *_title(summary), "", _table(summary), "", *verdicts, ""], width, color)


def render(parts: list[Any], width: int, color: bool) -> str:
    """Rich renderables as text without trailing blanks."""
    buffer = io.StringIO()
    system = "truecolor" if color else None
    console = Console(file=buffer, width=width, force_terminal=color, color_system=system, highlight=False)  # type: ignore[arg-type]
    for part in parts:
        console.print(part)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _title(summary: Mapping[str, Any]) -> list[Text]:
    first = Text(" ")
    first.append(suite_words(summary), "bold")
    for part in (model_words(summary), f"cache {summary['cache']}", size_words(summary)):
        first.append(" · ")
        first.append(part, "bold yellow" if "UNTRAINED" in part else "bold")
    where = (
        f" {summary['assets']} · {summary['device']} ({clock_words(summary['clock'])}) · {summary['dtype']} · "
        f"run {summary['run_id']}"
    )
    return [first, Text(where, "dim")]


def bullet(line: str) -> Padding:
    """One sentence under a table, its further lines indented."""
    table = Table.grid(padding=(0, 1))
    table.add_row(Text("•", "dim"), Text(line))
    return Padding(table, (0, 0, 0, 1))


def _table(summary: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    table.add_column(Text(""), no_wrap=True)
    table.add_column(baseline_words(summary), justify="right", no_wrap=True, header_style="bold")
    is_compared = not summary["mirrored"]
    if is_compared:
        cache = str(summary["cache"])
        table.add_column(cache, justify="right", no_wrap=True, header_style=header_style(cache))
        table.add_column("against no cache", header_style="bold")
    for section in (_success_rows, _latency_rows, _rate_rows):
        for label, *cells in section(summary):
            table.add_row(Text(f" {label}"), *(cells if is_compared else cells[:1]))
        table.add_section()
    return table


def header_style(cache: str) -> str:
    """Rich style of a policy's name; the grey of no cache would be hard to read on a dark terminal."""
    return "bold" if cache == "none" else f"bold {cache_color(cache)}"


def _success_rows(summary: Mapping[str, Any]) -> list[Row]:
    success, counts, total = summary["success_rate"], summary["success_counts"], summary["num_episodes"]
    cells = {arm: f"{counts[arm]}/{total}  {percent(success[arm])}" for arm in ("baseline", "policy")}
    outcomes = summary["pair_outcomes"]
    discordant = f"{outcomes['only_baseline']} lost, {outcomes['only_policy']} won, {p_value(success['mcnemar_p'])}"
    difference = join_words(points(success["difference"]), points_range(success["difference_ci95"]))
    low, high = (percent_range(success[f"{arm}_ci95"]) for arm in ("baseline", "policy"))
    return [
        ("success", cells["baseline"], cells["policy"], difference),
        ("  95 % interval", low, high, "" if summary["mirrored"] else discordant),
        *_rule_rows(summary),
        _errors_row(summary),
    ]


def _rule_rows(summary: Mapping[str, Any]) -> list[Row]:
    """Beside success at the last step, which the first row shows, success at any; nothing for other rules."""
    rules, rule = summary.get("success_by_rule"), (summary.get("episode_rules") or {}).get("success_rule")
    if not rules or rule != "final_step":
        return []
    baseline, policy = (
        f"{rules[arm]['any_step']}/{rules[arm]['num']}" if arm in rules else "" for arm in ("baseline", "policy")
    )
    return [("  at any step", baseline, policy, "the first row: at the last step")]


def _errors_row(summary: Mapping[str, Any]) -> Row:
    dropped = summary["num_pairs_dropped_error"]
    note = "" if dropped == 0 else f"{count_words(dropped, 'pair')} dropped"
    errors = summary["num_errors_by_arm"]
    return ("error episodes", str(errors["baseline"]), str(errors["policy"]), note)


def _latency_rows(summary: Mapping[str, Any]) -> list[Row]:
    latency, speedup = summary["latency_ms"], summary["speedup"]
    rows = [_row("ms per policy call, mean", latency, "mean", _speedup_note(speedup, "end_to_end"))]
    rows.append(_row(f"{'p50':>24}", latency, "p50", _median_note(speedup)))
    rows += [_row(f"{name:>24}", latency, name) for name in ("p90", "p99")]
    stage_notes = {"prefill": _speedup_note(speedup, "prefill")}
    if has_stages(summary):
        rows += [_row(f"  {stage}, mean", summary["stage_ms"], stage, stage_notes.get(stage, "")) for stage in STAGES]
    rows.append(_calls_row(summary))
    return rows


def _speedup_note(speedup: Mapping[str, Any], name: str) -> str:
    if speedup[name] is None:
        return ""
    return join_words(ratio(speedup[name]), "speed-up", ratio_range(speedup[f"{name}_ci95"]))


def _median_note(speedup: Mapping[str, Any]) -> str:
    value = speedup["end_to_end_median"]
    return "" if value is None else f"{ratio(value)} between medians"


def _row(label: str, values: Mapping[str, Any], name: str, note: str = "") -> Row:
    return (label, milliseconds(values["baseline"][name]), milliseconds(values["policy"][name]), note)


def _calls_row(summary: Mapping[str, Any]) -> Row:
    calls = summary["calls"]
    baseline, policy = (f"{calls[arm]['timed']} ({calls[arm]['cold']} cold)" for arm in ("baseline", "policy"))
    warmup = sum(calls[arm]["warmup_excluded"] for arm in ("baseline", "policy"))
    return ("calls timed", baseline, policy, "" if warmup == 0 else f"{warmup} warm-up left out")


def _rate_rows(summary: Mapping[str, Any]) -> list[Row]:
    control, achieved, macs = summary["control_hz"], summary["achieved_hz"], summary["macs"]
    has_both = macs["policy"] is not None and macs["baseline"] is not None
    share = f"{percent(macs['policy'] / macs['baseline'])} of the dense count" if has_both else ""
    rows = [
        ("control Hz, policy-limited", figure(control["baseline"]), figure(control["policy"]), ""),
        ("control Hz, achieved", figure(achieved["baseline"]), figure(achieved["policy"]), ""),
    ]
    if not summary["mirrored"]:
        fallback = f"dense fallback in {percent(summary['fallback']['share'])}"
        rows.append(("reuse ratio", "", percent(summary["reuse_ratio"]), fallback))
        if (objects := summary.get("object_patches")) is not None:
            note = f"of {figure(objects['patches'])} patches a call on movable objects"
            rows.append(("  called static on objects", "", percent(objects["static_share"]), note))
    if summary["weights"] != "none":
        rows.append(("MACs per call", macs_words(macs["baseline"]), macs_words(macs["policy"]), share))
    return rows
