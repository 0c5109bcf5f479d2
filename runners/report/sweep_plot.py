"""The picture of a sweep: success and end-to-end latency against the reuse ratio that was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from runners.report.figures import figure_style, new_figure, save_figure, write_axis_title, write_title
from runners.report.labels import Point, label_points
from runners.report.palette import MUTED, cache_color, cache_marker
from runners.report.sweep_table import limits
from runners.report.words import clock_words, count_words, model_words, suite_words

if TYPE_CHECKING:
    from runners.report.sweep import Sweep

#: Policies with a given share are drawn as a line over their arms; every other arm is a labelled point.
LINE_POLICIES = ("fixed_ratio", "random")


def write_sweep_plot(sweep: Sweep, path: Path) -> None:
    """Draw ``plot_sweep`` into a PNG."""
    with figure_style():
        save_figure(plot_sweep(sweep), path)


def plot_sweep(sweep: Sweep) -> Figure:
    """Upper panel success with Wilson intervals, lower panel latency relative to no cache with bootstrap intervals."""
    figure = new_figure(8.8)
    upper, lower = figure.subplots(2, 1, sharex=True)
    rows = [row for row in sweep.arms if row["reuse_ratio"] is not None]
    _draw_success(upper, sweep.reference, rows)
    _draw_latency(lower, rows)
    lower.set_xlim(-3, 100)
    lower.set_xlabel(_axis_words(rows))
    handles, labels = upper.get_legend_handles_labels()
    more = dict(zip(*reversed(lower.get_legend_handles_labels()), strict=True))
    named = {**more, **dict(zip(labels, handles, strict=True))}
    order = [*labels, *(label for label in more if label not in labels)]
    figure.legend([named[label] for label in order], order, loc="outside lower center", ncols=3)
    common = sweep.common
    source = [suite_words(common), model_words(common), common["assets"]]
    source.append(f"{common['device']} ({clock_words(common['clock'])})")
    write_title(figure, f"Sweep {sweep.sweep_id}: what reuse costs and gains", " · ".join(source))
    figure.draw_without_rendering()
    for axes, key in ((upper, _success_point), (lower, _latency_point)):
        _label_points(axes, rows, key)
    return figure


def _axis_words(rows: Sequence[Mapping[str, Any]]) -> str:
    words = "measured reuse ratio, % of (layer, vision token) pairs, mean over all calls of the arm"
    lines = [name for name in LINE_POLICIES if any(row["cache"] == name for row in rows)]
    return f"{words}\n(number at a point of {' and '.join(lines)}: the share asked for)" if lines else words


def _success_point(row: Mapping[str, Any]) -> tuple[float, float, tuple[float, float] | None] | None:
    if row["success"] is None:
        return None
    interval = limits(row, "success")
    return 100.0 * row["reuse_ratio"], 100.0 * row["success"], _scaled(interval, 100.0)


def _latency_point(row: Mapping[str, Any]) -> tuple[float, float, tuple[float, float] | None] | None:
    """Policy / no cache, the inverse of the speed-up."""
    if row["speedup"] is None:
        return None
    interval = limits(row, "speedup")
    inverse = None if interval is None else (1.0 / interval[1], 1.0 / interval[0])
    return 100.0 * row["reuse_ratio"], 100.0 / row["speedup"], _scaled(inverse, 100.0)


def _scaled(interval: tuple[float, float] | None, factor: float) -> tuple[float, float] | None:
    return None if interval is None else (factor * interval[0], factor * interval[1])


def _draw_success(axes: Axes, reference: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    interval = limits(reference, "success")
    if reference["success"] is not None and interval is not None:
        color = cache_color("none")
        axes.axhspan(100 * interval[0], 100 * interval[1], color=color, alpha=0.10, linewidth=0)
        label = f"no cache, n = {reference['num_pairs']}"
        axes.axhline(100 * reference["success"], color=color, linestyle=(0, (5, 3)), linewidth=1.4, label=label)
    _draw_points(axes, rows, _success_point)
    axes.set_ylim(0, 112)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel("success, %")
    axes.grid(axis="y")
    write_axis_title(axes, f"Success, 95 % Wilson interval ({_range_words(rows, 'num_pairs', 'pair')} an arm)")


def _draw_latency(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    color = cache_color("none")
    axes.axhline(100, color=color, linestyle=(0, (5, 3)), linewidth=1.4)
    _draw_points(axes, rows, _latency_point)
    counted = [row for row in rows if row["macs"] is not None and row["baseline_macs"] is not None]
    macs = sorted(
        (100.0 * row["reuse_ratio"], 100.0 * row["macs"] / row["baseline_macs"])
        for row in counted
        if row["macs"] <= row["baseline_macs"]  # what counts more than no cache (all rows' entropies) is no ideal
    )
    if len(macs) > 0:
        x, y = np.array([(0.0, 100.0), *macs]).T
        axes.plot(x, y, ":", color=MUTED, linewidth=1.4, label="MACs against no cache (the ideal)")
    tops = [100.0, *(point[2][1] if point[2] else point[1] for point in map(_latency_point, rows) if point is not None)]
    axes.set_ylim(0, 1.08 * max(tops))
    axes.set_ylabel("latency, % of no cache")
    axes.grid(axis="y")
    number = _range_words(rows, "timed_pairs", "timed pair")
    write_axis_title(axes, f"End-to-end latency of a policy call, mean, 95 % interval ({number} an arm)")


def _range_words(rows: Sequence[Mapping[str, Any]], name: str, noun: str) -> str:
    """``20 pairs``, or ``6 to 20 pairs`` when arms differ."""
    values = sorted({row[name] for row in rows})
    if not values:
        return f"no {noun}"
    return f"{values[0]} to {count_words(values[-1], noun)}" if len(values) > 1 else count_words(values[0], noun)


def _draw_points(axes: Axes, rows: Sequence[Mapping[str, Any]], place: Any) -> None:
    for cache in dict.fromkeys(row["cache"] for row in rows):
        points = [point for point in (place(row) for row in rows if row["cache"] == cache) if point is not None]
        if len(points) == 0:
            continue
        color, is_line = cache_color(cache), cache in LINE_POLICIES
        style: dict[str, Any] = {
            "color": color,
            "marker": cache_marker(cache),
            "markersize": 7,
            "zorder": 4 if is_line else 5,
        }
        x, y = [point[0] for point in points], [point[1] for point in points]
        axes.plot(x, y, linestyle="-" if is_line else "none", clip_on=False, label=cache, **style)
        for at, _, interval in points:
            if interval is not None:
                axes.plot([at, at], interval, color=color, linewidth=1.6, alpha=0.65, zorder=3, solid_capstyle="butt")


def _label_points(axes: Axes, rows: Sequence[Mapping[str, Any]], place: Any) -> None:
    arms = Counter(row["cache"] for row in rows)
    points = []
    for row in rows:
        at = place(row)
        if at is not None:
            x, y, interval = at
            points.append(Point(x, y, interval, _label(row, arms[row["cache"]]), cache_color(row["cache"])))
    label_points(axes, points)


def _label(row: Mapping[str, Any], num_arms: int) -> str:
    """The share asked for on a line, else the policy, or the arm where several arms have the same policy."""
    requested = row["requested_reuse_ratio"]
    if row["cache"] in LINE_POLICIES and requested is not None:
        return f"{requested:g}"
    return str(row["cache"] if num_arms == 1 else row["arm"])
