"""The table of a sweep, on the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runners.report.markdown import table as markdown_table
from runners.report.non_inferiority import READING as NON_INFERIORITY
from runners.report.terminal import MAX_WIDTH, bullet, header_style, render
from runners.report.words import (
    NO_DATA,
    clock_words,
    count_words,
    figure,
    join_words,
    macs_words,
    milliseconds,
    model_words,
    p_value,
    percent,
    percent_range,
    points_range,
    ratio,
    ratio_range,
    signed_points,
    suite_words,
)

if TYPE_CHECKING:
    from runners.report.sweep import Sweep

_READING = (
    "Speed-up: ratio of the mean times of a call, cold and dense calls included, over the pairs timed in each arm's "
    "own run, 95 % bootstrap interval from 5 pairs on. "
    "Difference: against no cache over the same pairs, Tango's 95 % interval."
)


def format_sweep_table(sweep: Sweep, *, width: int = MAX_WIDTH, color: bool = False) -> str:
    """The sweep as text of at most ``width`` columns."""
    notes = [bullet(note) for note in sweep_notes(sweep)]
    first = _table(sweep, has_prefill=True)
    if Console(width=10 * width).measure(first).maximum > width:
        first = _table(sweep, has_prefill=False)
    verdicts = [_verdict_table(sweep), ""] if sweep.margins and sweep.arms else []
    return render(["", *_title(sweep), "", first, "", *verdicts, *notes, ""], width, color)


def sweep_notes(sweep: Sweep) -> list[str]:
    """What to know before reading, most important first."""
    errors = [f"{row['arm']} {row['num_errors']}" for row in sweep.arms if row["num_errors"] > 0]
    notes = [*sweep.notes, _READING, *([NON_INFERIORITY] if sweep.margins else [])]
    if len(errors) > 0:
        notes.insert(0, f"Error episodes, left out with their pairs: {', '.join(errors)}.")
    if sweep.common["weights"] == "untrained":
        notes.insert(0, "Untrained weights: success says nothing about the cache.")
    return notes


def _title(sweep: Sweep) -> list[Text]:
    common = sweep.common
    first = Text(" ")
    first.append(f"sweep {sweep.sweep_id}", "bold")
    for part in (suite_words(common), model_words(common)):
        first.append(" · ")
        first.append(part, "bold yellow" if "UNTRAINED" in part else "bold")
    where = f" {common['assets']} · {common['device']} ({clock_words(common['clock'])}) · {common['dtype']}"
    return [first, Text(where, "dim")]


def _new_table(headers: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False, collapse_padding=True)
    for index, header in enumerate(headers):
        table.add_column(header, justify="left" if index == 0 else "right", no_wrap=True)
    return table


def _table(sweep: Sweep, *, has_prefill: bool) -> Table:
    """``has_prefill``: with the prefill's speed-up, for which long names leave no room (``sweep.md`` has it)."""
    prefill_header = ["prefill"] if has_prefill else []
    table = _new_table([" arm", "reuse %", "success %", "difference, pts", "mean ms", "speed-up", *prefill_header])
    for row in (sweep.reference, *sweep.arms):
        name = Text(f" {row['arm']}", header_style(row["cache"]))
        reuse = NO_DATA if row["reuse_ratio"] is None else f"{100.0 * row['reuse_ratio']:.1f}"
        success = (
            "" if row["success"] is None else f"{row['successes']}/{row['num_pairs']}  {100.0 * row['success']:.1f}"
        )
        difference, latency, speedup, prefill = _compared(row, digits=0)
        compared = ["", latency, "", ""] if row is sweep.reference else [difference, latency, speedup, prefill]
        table.add_row(name, reuse, success, *compared[: 4 if has_prefill else 3])
    return table


def _verdict_table(sweep: Sweep) -> Table:
    """Non-inferiority of every arm, with what it saves beside it; on which pairs a verdict rests is in ``sweep.md``."""
    left, *headers = (header.replace(" on ", "\non ") for header in _verdict_header(sweep))
    table = _new_table([f" {left}", *headers])
    for row in sweep.arms:
        name, *cells = _verdict_cells(row, sweep, has_basis=False)
        table.add_row(Text(f" {name}", header_style(row["cache"])), *cells)
    return table


def _verdict_header(sweep: Sweep) -> list[str]:
    planned = [f"at {margin.words} on {count_words(margin.pairs, 'pair')}" for margin in sweep.margins]
    return ["non-inferior?", "pairs", "lower limit, pts", *planned, "reuse %", "speed-up"]


def _verdict_cells(row: Mapping[str, Any], sweep: Sweep, *, has_basis: bool = True) -> list[str]:
    reuse = NO_DATA if row["reuse_ratio"] is None else f"{100.0 * row['reuse_ratio']:.1f}"
    verdicts = [
        _verdict_words(row[margin.column], row[f"{margin.column}_basis"] if has_basis else None)
        for margin in sweep.margins
    ]
    lower = signed_points(row["difference_lower95"])
    return [row["arm"], str(row["num_pairs"]), lower, *verdicts, reuse, ratio(row["speedup"])]


def _verdict_words(verdict: str | None, basis: str | None) -> str:
    """``yes (first 200 pairs)``; the number of pairs so far stands in a column of its own."""
    return verdict or NO_DATA if basis is None or verdict == "not yet" else f"{verdict or NO_DATA} ({basis})"


def _compared(row: Mapping[str, Any], digits: int = 1) -> list[str]:
    """Difference with ``digits`` decimals in its interval, latency and both speed-ups of an arm."""
    return [
        join_words(signed_points(row["difference"]), points_range(limits(row, "difference"), digits)),
        milliseconds(row["latency_mean_ms"]),
        join_words(ratio(row["speedup"]), ratio_range(limits(row, "speedup"))),
        ratio(row["prefill_speedup"]),
    ]


def limits(row: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """Interval of a figure in an arm's row, or None."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return None if low is None or high is None else (low, high)


def format_sweep_markdown(sweep: Sweep, picture: str) -> str:
    """``sweep.md``: the whole table, the picture and how to read them."""
    common = sweep.common
    header = [
        "arm",
        "reuse ratio",
        "success",
        "95 % interval",
        "difference (points)",
        "p",
        "mean (ms)",
        "no cache mean (ms)",
        "p50 (ms)",
        "no cache p50 (ms)",
    ]
    header += [
        "speed-up",
        "ratio of medians",
        "prefill speed-up",
        "control Hz",
        "MACs per call",
        "timed pairs",
        "errors",
    ]
    rows = [_markdown_cells(row, row is sweep.reference) for row in (sweep.reference, *sweep.arms)]
    sections = [
        f"# Sweep {sweep.sweep_id}: {suite_words(common)} · {model_words(common)}",
        f"Assets {common['assets']}, {common['device']} ({clock_words(common['clock'])}), {common['dtype']}.",
        "\n".join(f"- {note}" for note in sweep_notes(sweep)),
        f"![Success and latency against the measured reuse ratio]({picture})",
        markdown_table(header, rows),
        *_verdict_section(sweep),
    ]
    return "\n\n".join(sections) + "\n"


def _verdict_section(sweep: Sweep) -> list[str]:
    if not sweep.margins or not sweep.arms:
        return []
    cells = [_verdict_cells(row, sweep) for row in sweep.arms]
    return [f"## Non-inferior to no cache, {suite_words(sweep.common)}", markdown_table(_verdict_header(sweep), cells)]


def _markdown_cells(row: Mapping[str, Any], is_reference: bool) -> list[str]:
    start = [row["arm"], percent(row["reuse_ratio"])]
    start += [f"{row['successes']}/{row['num_pairs']} {percent(row['success'])}", percent_range(limits(row, "success"))]
    if is_reference:
        latencies = [milliseconds(row["latency_mean_ms"]), "", milliseconds(row["latency_p50_ms"]), ""]
        return [*start, "", "", *latencies, *[""] * 4, macs_words(row["macs"]), "", ""]
    difference, latency, speedup, prefill = _compared(row)
    return [
        *start,
        difference,
        p_value(row["mcnemar_p"]),
        latency,
        milliseconds(row["baseline_latency_mean_ms"]),
        milliseconds(row["latency_p50_ms"]),
        milliseconds(row["baseline_latency_p50_ms"]),
        speedup,
        ratio(row["speedup_median"]),
        join_words(prefill, ratio_range(limits(row, "prefill_speedup"))),
        figure(row["control_hz"]),
        macs_words(row["macs"]),
        str(row["timed_pairs"]),
        str(row["num_errors"]),
    ]
