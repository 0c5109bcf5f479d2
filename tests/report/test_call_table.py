"""The line of each episode says what the steps say, and is enough for the figures of a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from runners.report import build_summary, load_run
from runners.report.call_table import CALLS_FILE, KEY, tabulate_calls, write_calls
from runners.report.published import keep_run, remove_run
from tests.report.figures_of_calls import figures_of_calls


def test_the_figures_of_a_run_follow_from_its_lines(write_run: Callable[..., Path], tmp_path: Path) -> None:
    copied = frozenset({(0, 1), (1, 2)})
    run = write_run("demo", num_tasks=2, num_inits=3, reused=copied)
    write_calls(run, tmp_path / CALLS_FILE)
    table, summary = pd.read_csv(tmp_path / CALLS_FILE), build_summary(load_run(run))
    assert len(table) == 12 - len(copied) and not table.duplicated(list(KEY)).any()
    found = figures_of_calls(table)
    expected = {
        "reuse_ratio": summary["reuse_ratio"],
        "fallback_share": summary["fallback"]["share"],
        "macs": summary["macs"]["policy"],
        "speedup": summary["speedup"]["end_to_end"],
        "prefill_speedup": summary["speedup"]["prefill"],
        "latency_mean_ms": summary["latency_ms"]["policy"]["mean"],
    }
    assert found == pytest.approx(expected, rel=1e-4)


def test_an_episode_whose_calls_all_warmed_up_has_no_times(write_run: Callable[..., Path]) -> None:
    frames = load_run(write_run("demo", num_tasks=1, num_inits=2))
    first = frames.steps["slug"] == frames.steps["slug"].iloc[0]
    frames.steps.loc[first & frames.steps["policy_call"], "is_warmup"] = True
    row = tabulate_calls(frames).iloc[0]
    assert row["timed_calls"] == 0 and row["calls"] > 0 and pd.isna(row["total_ms"])


def test_it_comes_and_goes_with_a_published_run(write_run: Callable[..., Path], tmp_path: Path) -> None:
    keep_run(write_run("demo"), tmp_path / "kept")
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"run.json", "episodes.jsonl", CALLS_FILE}
    remove_run(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
