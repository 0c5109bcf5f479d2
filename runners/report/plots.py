"""The pictures of one run: success, latency by stage, latency over the episode, reuse. PNG, axes from 0, n stated."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from runners.report import ledger
from runners.report.figures import figure_style, new_figure, save_figure, write_axis_title, write_title
from runners.report.load import RunFrames
from runners.report.pairs import is_mirrored, pair_episodes
from runners.report.palette import INK, MUTED, STAGE_COLORS, cache_color, cache_marker
from runners.report.reuse_map import mean_reuse_map
from runners.report.words import (
    clock_words,
    count_words,
    has_stages,
    milliseconds,
    model_words,
    ratio,
    ratio_range,
    suite_words,
)
from vlacache.types import STAGES


def write_plots(frames: RunFrames, summary: Mapping[str, Any], folder: Path) -> list[str]:
    """Write every plot that has data; returns the file names in reading order."""
    pairs = pair_episodes(frames.episodes, mirrored=is_mirrored(frames.episodes, frames.run["cache"]))
    calls = ledger.policy_calls(frames.steps)
    timed = ledger.ledger_calls(calls, pairs)
    policy = ledger.arm_calls(calls, pairs, "policy")
    builders: dict[str, tuple[bool, Callable[[], Figure]]] = {
        "success.png": (summary["num_episodes"] > 0, lambda: plot_success(summary)),
        "latency_stages.png": (has_stages(summary), lambda: plot_stages(summary)),
        "latency_calls.png": (_has_latency(summary), lambda: plot_latency_calls(timed, summary)),
        "reuse.png": (_has_cache(summary), lambda: plot_reuse(policy, summary)),
    }
    written = []
    for name, (has_data, build) in builders.items():
        if has_data:
            with figure_style():
                save_figure(build(), folder / name)
            written.append(name)
        else:
            (folder / name).unlink(missing_ok=True)
    return written


def _has_latency(summary: Mapping[str, Any]) -> bool:
    return any(summary["latency_ms"][arm]["p50"] is not None for arm in ("policy", "baseline"))


def _has_cache(summary: Mapping[str, Any]) -> bool:
    return summary["reuse_ratio"] is not None and summary["cache"] != "none"


def _source_line(summary: Mapping[str, Any], *parts: str) -> str:
    return " · ".join([suite_words(summary), model_words(summary), *parts])


def _arms(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(arm, cache policy) in drawing order; one entry when the run has a single arm."""
    if summary["mirrored"]:
        return [("baseline", "none")]
    return [("baseline", "none"), ("policy", str(summary["cache"]))]


def _arm_label(arm: str, cache: str) -> str:
    return cache if cache != "none" else "no cache" if arm == "baseline" else "no cache again"


def plot_success(summary: Mapping[str, Any]) -> Figure:
    """Success of both arms per task and over all, each with its Wilson interval."""
    rows = [task for task in summary["tasks"] if task["num_episodes"] > 0]
    labels = [_task_label(task["task_id"], task["name"]) for task in rows]
    if len(rows) != 1:
        rows = [*rows, {key: summary[key] for key in ("success_rate", "success_counts", "num_episodes")}]
        labels.append("all tasks")
    figure = new_figure(max(3.0, 1.85 + 0.5 * len(rows)))
    axes = figure.subplots()
    arms = _arms(summary)
    for index, (arm, cache) in enumerate(arms):
        offset = (index - (len(arms) - 1) / 2) * 0.34
        _draw_intervals(axes, rows, arm, cache, offset)
    for y, row in enumerate(rows):
        axes.text(102.5, y, f"n = {row['num_episodes']}", va="center", fontsize=8.4, color=MUTED, clip_on=False)
    if len(labels) > 1:
        axes.axhline(len(rows) - 1.5, color=MUTED, linewidth=0.8)
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlim(0, 100)
    axes.tick_params(axis="y", pad=8)
    axes.set_xlabel("success, % (bars: 95 % Wilson interval)")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    title = "Success per task" if summary["mirrored"] else "Success per task, same initial states in both arms"
    write_title(figure, title, _source_line(summary, summary["assets"]))
    return figure


def _task_label(task_id: int, instruction: str) -> str:
    """At most two lines; the number tells apart instructions that are cut."""
    lines = textwrap.wrap(f"{task_id}  {instruction}".strip(), 38, max_lines=2, placeholder=" …")
    return "\n".join(lines)


def _draw_intervals(axes: Axes, rows: list[Mapping[str, Any]], arm: str, cache: str, offset: float) -> None:
    rates = np.array([100.0 * row["success_rate"][arm] for row in rows])
    limits = np.array([row["success_rate"][f"{arm}_ci95"] for row in rows]) * 100.0
    spread = np.abs(np.stack([rates - limits[:, 0], limits[:, 1] - rates]))
    axes.errorbar(
        rates,
        np.arange(len(rows)) + offset,
        xerr=spread,
        fmt=cache_marker(cache),
        color=cache_color(cache),
        markersize=6.5,
        elinewidth=2.0,
        alpha=0.95,
        label=_arm_label(arm, cache),
        clip_on=False,
        zorder=3,
    )


def plot_stages(summary: Mapping[str, Any]) -> Figure:
    """Mean time of a policy call stacked by stage, one bar an arm."""
    arms = [(arm, cache) for arm, cache in _arms(summary) if summary["stage_ms"][arm]["prefill"] is not None]
    figure = new_figure(max(3.0, 2.35 + 0.5 * len(arms)))
    axes = figure.subplots()
    stages = [stage for stage in STAGES if any(summary["stage_ms"][arm][stage] > 0 for arm, _ in arms)]
    longest = max(summary["latency_ms"][arm]["mean"] for arm, _ in arms)
    for y, (arm, _) in enumerate(arms):
        left = 0.0
        for stage in stages:
            width = summary["stage_ms"][arm][stage]
            label = stage if y == 0 else None
            axes.barh(y, width, 0.62, left, color=STAGE_COLORS[stage], edgecolor="white", linewidth=0.8, label=label)
            if width > 0.055 * longest:
                _write_inside(axes, left + width / 2, y, milliseconds(width), STAGE_COLORS[stage])
            left += width
        latency, number = summary["latency_ms"][arm], summary["calls"][arm]["timed"]
        note = f"mean {milliseconds(latency['mean'])} ms\nmedian {milliseconds(latency['p50'])} · {number} calls"
        text = axes.text(left + 0.012 * longest, y, note, va="center", fontsize=8.6, color=INK, linespacing=1.35)
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.5})
    axes.set_yticks(range(len(arms)), [_arm_label(arm, cache) for arm, cache in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlim(0, 1.30 * longest)
    axes.set_xlabel("milliseconds per policy call, mean")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(stages), handlelength=1.0)
    write_title(figure, _stages_title(summary), _time_line(summary))
    return figure


def _write_inside(axes: Axes, x: float, y: float, text: str, background: str) -> None:
    red, green, blue = (int(background[i : i + 2], 16) / 255 for i in (1, 3, 5))
    is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
    axes.text(x, y, text, ha="center", va="center", fontsize=8.4, color="white" if is_dark else INK)


def _stages_title(summary: Mapping[str, Any]) -> str:
    """Names a speed-up only when it has an interval."""
    speedup = summary["speedup"]
    if speedup["end_to_end_ci95"] is None:
        return "Where the time of a policy call goes"
    interval = ratio_range(speedup["end_to_end_ci95"])
    return f"Where the time of a policy call goes: {ratio(speedup['end_to_end'])} {interval} end to end"


def _time_line(summary: Mapping[str, Any]) -> str:
    pairs = summary["speedup"]["num_pairs"]
    basis = f"{count_words(pairs, 'pair')} timed in both arms" if pairs > 0 else "no pair timed in both arms"
    if summary["mirrored"]:
        basis = count_words(pairs, "episode")
    return _source_line(summary, f"{summary['device']} ({clock_words(summary['clock'])})", basis)


def plot_latency_calls(timed: Mapping[str, pd.DataFrame], summary: Mapping[str, Any]) -> Figure:
    """Left: latency over the call index of an episode. Right: median of each episode in run order, to see drift."""
    figure = new_figure(4.1)
    left, right = figure.subplots(1, 2, width_ratios=(1.35, 1.0), sharey=True)
    for arm, cache in _arms(summary):
        if len(timed[arm]) > 0:
            _draw_band(left, timed[arm], "total_ms", cache, _arm_label(arm, cache))
            medians = timed[arm].groupby("slug", sort=False)["total_ms"].median().to_numpy()
            style: dict[str, Any] = {"color": cache_color(cache), "marker": cache_marker(cache)}
            style |= {"markersize": 4.5, "alpha": 0.85} if len(medians) <= 60 else {"markersize": 2.0, "alpha": 0.6}
            right.plot(np.arange(1, len(medians) + 1), medians, linestyle="none", **style)
    left.set_xlabel(f"policy call of the episode (0 = cold)\n{_running_words(timed['policy'])}")
    left.set_ylabel("ms per policy call, end to end")
    right.set_xlabel("episode of the arm, in run order")
    write_axis_title(left, "Within an episode: median, p10 to p90")
    write_axis_title(right, "Over the run: median of each episode")
    top = max(float(np.percentile(timed[arm]["total_ms"], 99.5)) for arm in timed if len(timed[arm]) > 0)
    left.set_ylim(0, 1.18 * top)
    for axes in (left, right):
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_xlim(0, 1 + max(calls["slug"].nunique() for calls in timed.values()))
    left.set_xlim(left=-0.6)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    write_title(figure, "Latency of a policy call over the episode and over the run", _time_line(summary))
    return figure


def _running_words(calls: pd.DataFrame) -> str:
    """How many episodes stand behind the two ends of a line over the call index."""
    number = calls.groupby("call_index").size()
    if len(number) == 0 or number.iloc[0] == number.iloc[-1]:
        return f"{count_words(0 if len(number) == 0 else int(number.iloc[0]), 'episode')} at every call"
    return f"n falls from {number.max()} episodes to {number.iloc[-1]} that were still running"


def _draw_band(axes: Axes, calls: pd.DataFrame, column: str, cache: str, label: str) -> None:
    """Median line with a p10 .. p90 band over the call index."""
    groups = calls.groupby("call_index")[column]
    low, middle, high = (groups.quantile(q).to_numpy(dtype=float) for q in (0.1, 0.5, 0.9))
    index = np.unique(calls["call_index"].to_numpy(dtype=int))
    color = cache_color(cache)
    axes.fill_between(index, low, high, color=color, alpha=0.18, linewidth=0)
    markevery = max(1, len(index) // 12)
    style: dict[str, Any] = {"color": color, "marker": cache_marker(cache), "markersize": 4.5, "markevery": markevery}
    axes.plot(index, middle, label=label, clip_on=False, zorder=3, **style)


def plot_reuse(calls: pd.DataFrame, summary: Mapping[str, Any]) -> Figure:
    """Reuse ratio over the episode; below it, when traces were recorded, the share reused in every layer."""
    strip = mean_reuse_map(calls, int(summary["num_layers"]))
    figure = new_figure(5.4 if strip is not None else 3.6)
    heights = (1.25, 1.0) if strip is not None else (1.0,)
    panels = np.atleast_1d(figure.subplots(len(heights), 1, height_ratios=heights, sharex=True))
    share = calls.assign(percent=100.0 * calls["reuse_ratio"])
    _draw_band(panels[0], share, "percent", summary["cache"], str(summary["cache"]))
    panels[0].set_ylim(0, 100)
    panels[0].set_ylabel("reuse ratio, %")
    panels[0].grid(axis="y")
    write_axis_title(panels[0], "Reused (layer, vision token) pairs: median, p10 to p90")
    panels[-1].set_xlabel(f"policy call of the episode (0 = cold); {_running_words(calls)}")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    if strip is not None:
        _draw_strip(figure, panels[1], strip)
    panels[0].set_xlim(-0.5, int(calls["call_index"].max()) + 0.5)
    number = summary["fallback"]["calls"]
    mean = f"mean reuse ratio {100 * summary['reuse_ratio']:.1f} % over {count_words(number, 'call')}"
    source = _source_line(summary, count_words(summary["num_episodes"], "pair"))
    write_title(figure, f"What {summary['cache']} reused: {mean}", source)
    return figure


def _draw_strip(figure: Figure, axes: Axes, strip: np.ndarray) -> None:
    num_layers, num_calls = strip.shape
    extent = (-0.5, num_calls - 0.5, num_layers - 0.5, -0.5)
    image = axes.imshow(
        100.0 * strip, aspect="auto", cmap="cividis", vmin=0, vmax=100, extent=extent, interpolation="nearest"
    )
    axes.set_ylabel("decoder layer")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    write_axis_title(axes, "Share of patches read from the cache, per layer (mean over episodes)")
    bar = figure.colorbar(image, ax=axes, pad=0.012, aspect=12)
    bar.set_label("%")
    bar.outline.set_visible(False)
