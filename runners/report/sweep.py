"""The report of a sweep: all arms of ``results/<sweep_id>/`` in one table and one picture."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from runners.files import write_text_atomic
from runners.journal import EPISODES_FILE, RUN_FILE
from runners.report.controls import find_controls, judge_controls, note_missing_controls
from runners.report.load import RunFrames, load_run
from runners.report.non_inferiority import MARGINS, Margin
from runners.report.pairs import PAIR_KEY, baseline_outcomes, is_mirrored, pair_episodes
from runners.report.summary import build_summary
from runners.report.sweep_table import format_sweep_markdown, format_sweep_table
from runners.report.terminal import print_text
from runners.report.words import count_words, ranges

#: Arms that differ in one of these are not comparable and never share a table.
COMPARABLE_FIELDS = (
    "suite",
    "model",
    "weights",
    "checkpoint",
    "dtype",
    "assets_provenance",
    "episode_rules",
    "placement",
    "reseed",
    "device",
    "machine",
    "clock",
)


@dataclass(frozen=True)
class Sweep:
    """The arms of a sweep.

    Attributes:
        sweep_id: name of the folder.
        arms: one flat row per arm in order of cache policy and reuse ratio; columns of ``sweep.csv``.
        reference: the same columns for the no-cache arm that the others are compared with.
        common: what all arms share (``COMPARABLE_FIELDS`` and ``assets``).
        notes: what a reader must know before comparing arms.
        skipped: arm folder -> why it is not in the table.
        margins: on which non-inferiority is judged; a row has the verdict on each as ``margin.column``, with
            ``_basis`` behind it the pairs on which it rests where these are not all, or why there is none.
    """

    sweep_id: str
    arms: tuple[dict[str, Any], ...]
    reference: dict[str, Any]
    common: dict[str, Any]
    notes: tuple[str, ...]
    skipped: dict[str, str]
    margins: tuple[Margin, ...]


def write_sweep_report(sweep_dir: str | Path, margins: Sequence[Margin] = MARGINS) -> Sweep:
    """Write ``sweep.csv``, ``sweep.md`` and ``sweep.png`` into ``sweep_dir`` from the records of its arms.

    Raises:
        FileNotFoundError: no arm has records yet.
        ValueError, RuntimeError: arms that are not comparable, or corrupt records (see ``load_run``).
    """
    from runners.report.sweep_plot import write_sweep_plot  # matplotlib only when something is drawn

    root = Path(sweep_dir)
    sweep = collect_sweep(root, margins)
    write_text_atomic(root / "sweep.csv", pd.DataFrame(sweep.arms).to_csv(index=False, lineterminator="\n"))
    write_sweep_plot(sweep, root / "sweep.png")
    write_text_atomic(root / "sweep.md", format_sweep_markdown(sweep, "sweep.png"))
    return sweep


def print_sweep(sweep: Sweep, file: TextIO | None = None) -> None:
    """Print the table of a sweep to ``file`` (default: standard output)."""
    stream = sys.stdout if file is None else file
    print_text(format_sweep_table(sweep, color=stream.isatty()), stream)


def collect_sweep(root: Path, margins: Sequence[Margin] = MARGINS) -> Sweep:
    """Read all arms of a sweep, refuse to mix what is not comparable, and order them. See ``write_sweep_report``."""
    loaded, skipped = _load_arms(root)
    summaries = {name: build_summary(frames, margins) for name, frames in loaded.items()}
    _refuse_mixtures(root, summaries)
    for name in [name for name, summary in summaries.items() if _is_bare(summary)]:
        skipped[name] = "no finished pair yet"
        del loaded[name], summaries[name]
    if len(loaded) == 0:
        why = f" ({', '.join(f'{arm}: {reason}' for arm, reason in skipped.items())})" if skipped else ""
        raise FileNotFoundError(
            f"{root}: no arm with records{why}; expected {root.name}/<arm>/{RUN_FILE} and {EPISODES_FILE}"
        )
    rows = [_arm_row(name, summaries[name], loaded[name]) for name in loaded]
    compared = [row for row in rows if row["cache"] != "none"]
    compared.sort(
        key=lambda row: (row["cache"], -1.0 if row["reuse_ratio"] is None else row["reuse_ratio"], row["arm"])
    )
    first = next(iter(summaries.values()))
    common = {name: first[name] for name in (*COMPARABLE_FIELDS, "assets")}
    source = _reference_source(rows)
    controls, missing = _control_notes(root, loaded[source["arm"]], summaries[source["arm"]])
    notes = [*controls, _note_states(loaded), *_note_episodes(loaded), *_note_skipped(skipped), *missing]
    reference = _reference_row(source, summaries[source["arm"]])
    return Sweep(root.name, tuple(compared), reference, common, tuple(notes), skipped, tuple(margins))


def _is_bare(summary: Mapping[str, Any]) -> bool:
    """An arm that was stopped before its first pair ended; one whose pairs all ended in errors is shown."""
    return bool(summary["num_episodes"] == 0 and summary["num_errors"] == 0)


def _control_notes(root: Path, frames: RunFrames, summary: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """(what the controls say of the reference, which are missing)."""
    outcomes = baseline_outcomes(pair_episodes(frames.episodes, mirrored=summary["mirrored"]))
    controls = find_controls(root.absolute().parent, summary, outcomes)
    return judge_controls(controls), note_missing_controls(controls, summary, outcomes, frames.run["config"])


def _load_arms(root: Path) -> tuple[dict[str, RunFrames], dict[str, str]]:
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such sweep folder; expected results/<sweep_id>/")
    loaded: dict[str, RunFrames] = {}
    skipped: dict[str, str] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if (folder / RUN_FILE).exists() and (folder / EPISODES_FILE).exists():
            loaded[folder.name] = load_run(folder, traces=False)
        elif (folder / RUN_FILE).exists():
            skipped[folder.name] = "no episode yet"
    return loaded, skipped


def _refuse_mixtures(root: Path, summaries: Mapping[str, Mapping[str, Any]]) -> None:
    for name in COMPARABLE_FIELDS:
        groups: dict[str, list[str]] = {}
        for arm, summary in summaries.items():
            groups.setdefault(json.dumps(summary[name], sort_keys=True), []).append(arm)
        known = {value: arms for value, arms in groups.items() if value != "null"}
        if len(known) > 1:
            listing = "; ".join(f"{value} in {', '.join(arms)}" for value, arms in sorted(known.items()))
            raise ValueError(f"{root}: expected one {name} in a sweep, got {listing}; keep each in a sweep of its own")


def _arm_row(arm: str, summary: Mapping[str, Any], frames: RunFrames) -> dict[str, Any]:
    success, speedup, latency = summary["success_rate"], summary["speedup"], summary["latency_ms"]
    macs, counts = summary["macs"], summary["success_counts"]
    return {
        "arm": arm,
        "placement": summary["placement"],
        "cache": summary["cache"],
        "requested_reuse_ratio": requested_reuse_ratio(frames.run),
        "reuse_ratio": summary["reuse_ratio"],
        "num_pairs": summary["num_episodes"],
        "num_errors": summary["num_errors"],
        "successes": counts["policy"],
        "success": success["policy"],
        **_limits("success", success["policy_ci95"]),
        "baseline_successes": counts["baseline"],
        "baseline_success": success["baseline"],
        **_limits("baseline_success", success["baseline_ci95"]),
        "difference": success["difference"],
        **_limits("difference", success["difference_ci95"]),
        "mcnemar_p": success["mcnemar_p"],
        **_non_inferiority(summary["non_inferiority"]),
        "timed_pairs": speedup["num_pairs"],
        "latency_mean_ms": latency["policy"]["mean"],
        "baseline_latency_mean_ms": latency["baseline"]["mean"],
        "latency_p50_ms": latency["policy"]["p50"],
        "baseline_latency_p50_ms": latency["baseline"]["p50"],
        "speedup": speedup["end_to_end"],
        **_limits("speedup", speedup["end_to_end_ci95"]),
        "speedup_median": speedup["end_to_end_median"],
        "prefill_speedup": speedup["prefill"],
        **_limits("prefill_speedup", speedup["prefill_ci95"]),
        "prefill_speedup_median": speedup["prefill_median"],
        "control_hz": summary["control_hz"]["policy"],
        "macs": macs["policy"],
        "baseline_macs": macs["baseline"],
        "fallback_share": summary["fallback"]["share"],
    }


def requested_reuse_ratio(run: Mapping[str, Any]) -> float | None:
    """The share that ``fixed_ratio`` and ``random`` were asked for; None for policies that find their own."""
    config = run["config"].get("cache")
    for numbers in (run.get("resolved_cache"), config if isinstance(config, Mapping) else None):
        if numbers is not None and numbers.get("reuse_ratio") is not None:
            return float(numbers["reuse_ratio"])
    return None


def _non_inferiority(found: Mapping[str, Any] | None) -> dict[str, Any]:
    """One-sided limits of the difference and the verdict on each margin; nothing for an arm that is not compared."""
    if found is None:
        return {}
    verdicts: dict[str, Any] = {}
    for item in found["margins"]:
        column = Margin(item["loss"], item["planned_pairs"]).column
        verdicts |= {column: item["verdict"], f"{column}_basis": item["basis"]}
    return {"difference_lower95": found["lower95"], "difference_upper95": found["upper95"], **verdicts}


def _limits(name: str, interval: Sequence[float] | None) -> dict[str, float | None]:
    low, high = (None, None) if interval is None else interval
    return {f"{name}_low": low, f"{name}_high": high}


def _reference_source(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The ``cache=none`` arm, or else the arm with most pairs (first by name), whose baseline column then serves."""
    own = [row for row in rows if row["cache"] == "none"]
    return max(own or rows, key=lambda row: row["num_pairs"])


def _reference_row(source: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    latency = summary["latency_ms"]["baseline"]
    copied = ("successes", "success", "success_low", "success_high")
    return {
        **dict.fromkeys(source),
        "arm": "no cache",
        "placement": source["placement"],
        "cache": "none",
        "reuse_ratio": 0.0,
        "num_pairs": source["num_pairs"],
        **{name: source[f"baseline_{name}"] for name in copied},
        "latency_mean_ms": latency["mean"],
        "latency_p50_ms": latency["p50"],
        "macs": source["baseline_macs"],
    }


def _note_states(loaded: Mapping[str, RunFrames]) -> str:
    """Which initial states and seeds all arms together played, and which those played that have fewer."""
    states, seeds = (
        {arm: tuple(sorted(frames.episodes[column].astype(int).unique())) for arm, frames in loaded.items()}
        for column in ("init_index", "env_seed")
    )
    every = sorted(set().union(*states.values()))
    fewer = sorted({found for found in states.values() if len(found) < len(every)})
    less = f"; arms with fewer pairs: {' or '.join(ranges(found) for found in fewer)}" if fewer else ""
    return f"Initial states {ranges(every)} of the tasks' lists, seed {ranges(set().union(*seeds.values()))}{less}."


def _note_episodes(loaded: Mapping[str, RunFrames]) -> list[str]:
    """Arms that cover other initial states than the largest one."""
    keys = {}
    for arm, frames in loaded.items():
        pairs = pair_episodes(frames.episodes, mirrored=is_mirrored(frames.episodes, frames.run["cache"]))
        keys[arm] = set(pairs.loc[pairs["scored"], PAIR_KEY].itertuples(index=False, name=None))
    union = set().union(*keys.values())
    short = [f"{arm} {len(found)}" for arm, found in keys.items() if found != union]
    if len(short) == 0:
        return []
    return [
        f"{count_words(len(union), 'pair')} over all arms; with fewer: {', '.join(short)}. "
        "These arms differ in episodes, not only in cache."
    ]


def _note_skipped(skipped: Mapping[str, str]) -> list[str]:
    return [f"Left out: {', '.join(f'{arm} ({why})' for arm, why in skipped.items())}."] if skipped else []
