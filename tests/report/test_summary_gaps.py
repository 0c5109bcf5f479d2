"""The summary of a run in which something is missing: errors, copied baselines, runs without an episode."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from runners.journal import read_episodes
from runners.report import build_summary, load_run
from runners.steps import write_steps
from tests.report.summaries import ARMS, summary_of

WriteRun = Callable[..., Path]


def test_errors_drop_their_pairs_and_are_shown(write_run: WriteRun) -> None:
    errors = frozenset({("policy", 0, 1), ("baseline", 0, 1), ("baseline", 1, 0)})
    summary = summary_of(write_run(num_tasks=2, num_inits=3, errors=errors, success=(1.0, 1.0)))
    assert summary["num_errors"] == 3
    assert summary["num_pairs_dropped_error"] == 2
    assert summary["num_episodes"] == 4
    assert summary["success_rate"]["policy"] == 1.0  # an error is not a failure
    assert summary["success_rate_errors_as_failures"] == pytest.approx({"policy": 5 / 6, "baseline": 4 / 6})
    assert [item["error"] for item in summary["errors"]] == ["RuntimeError: simulator"] * 3
    assert any("3 episodes ended in an error" in line for line in summary["verdicts"])


def test_episode_finished_after_an_error_counts_once(write_run: WriteRun, append_row: Callable[..., None]) -> None:
    run = write_run(num_tasks=1, num_inits=2)
    expected = summary_of(run)
    append_row(run, status="error", attempt=2)
    assert summary_of(run)["num_errors"] == 1
    last = json.loads((run / "episodes.jsonl").read_text().splitlines()[-2])
    append_row(run, status=last["status"], attempt=3, error=None)
    summary = summary_of(run)
    assert summary["num_errors_retried"] == 1
    same = ("success_rate", "latency_ms", "speedup", "reuse_ratio", "num_episodes", "num_errors")
    assert {name: summary[name] for name in same} == {name: expected[name] for name in same}


def test_copied_baseline_counts_for_success_but_never_for_latency(write_run: WriteRun) -> None:
    everything = frozenset((task, init) for task in range(2) for init in range(3))
    summary = summary_of(write_run(num_tasks=2, num_inits=3, reused=everything))
    assert summary["num_episodes"] == 6
    assert summary["num_reused_baseline"] == 6
    assert summary["reused_from"] == ["earlier"]
    assert summary["success_rate"]["baseline"] is not None
    assert summary["latency_ms"]["baseline"] == dict.fromkeys(("p50", "p90", "p99", "mean"))
    assert summary["speedup"]["end_to_end"] is None
    assert summary["control_hz"]["baseline"] is None
    assert summary["achieved_hz"]["baseline"] is None
    assert summary["latency_ms"]["policy"]["p50"] > 0


def test_step_file_that_came_with_a_copied_baseline_is_not_timed(write_run: WriteRun) -> None:
    run = write_run(num_tasks=2, num_inits=3)
    own = summary_of(run)
    lines = [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]
    for row in lines:
        if row["arm"] == "baseline" and row["init_index"] > 0:
            row["reused_from"] = "earlier"
    (run / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    summary = summary_of(run)
    assert summary["speedup"]["num_pairs"] == 2
    assert summary["calls"]["baseline"]["timed"] < own["calls"]["baseline"]["timed"]
    assert summary["calls"]["baseline"]["reused_excluded"] > 0
    assert summary["macs"] == own["macs"]  # counted, not timed


def test_run_without_an_episode_has_no_figures(write_run: WriteRun) -> None:
    run = write_run(num_tasks=0)
    (run / "episodes.jsonl").write_text("")
    summary = summary_of(run)
    assert summary["num_episodes"] == 0
    pinned = [summary["reuse_ratio"], *summary["macs"].values(), *summary["control_hz"].values()]
    pinned += [summary["success_rate"][name] for name in ("policy", "baseline", "difference", "mcnemar_p")]
    pinned += [summary["speedup"][f"{name}{kind}"] for name in ("end_to_end", "prefill") for kind in ("", "_median")]
    pinned += [value for arm in ARMS for value in summary["latency_ms"][arm].values()]
    pinned += [value for arm in ARMS for value in summary["stage_ms"][arm].values()]
    assert set(pinned) == {None}


def test_pair_in_flight_is_not_counted(write_run: WriteRun) -> None:
    run = write_run(num_tasks=1, num_inits=3)
    lines = (run / "episodes.jsonl").read_text().splitlines()
    (run / "episodes.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    summary = summary_of(run)
    assert (summary["num_episodes"], summary["num_pairs_unfinished"]) == (2, 1)


def test_mixed_clocks_are_refused(write_run: WriteRun) -> None:
    run, other = write_run("a", num_tasks=1, num_inits=1), write_run("b", num_tasks=1, num_inits=1, clock="cuda_event")
    victim = next((run / "steps").glob("policy-*"))
    victim.write_bytes((other / "steps" / victim.name).read_bytes())
    with pytest.raises(ValueError, match=r"clock: expected one clock in a run, got \['cpu', 'cuda_event'\]"):
        build_summary(load_run(run))


def test_a_run_in_which_nothing_could_start_is_reported(write_run: WriteRun) -> None:
    """No renderer, say: every episode ends in an error before its first step."""
    run = write_run(num_tasks=1, num_inits=2, errors=frozenset((a, 0, i) for a in ARMS for i in range(2)))
    for record in read_episodes(run):
        write_steps(run / "steps" / f"{record.key.slug}.parquet", record, [])
    summary = summary_of(run)
    assert (summary["num_episodes"], summary["num_errors"], summary["calls"]["policy"]["timed"]) == (0, 4, 0)
    assert summary["success_rate"]["policy"] is None
