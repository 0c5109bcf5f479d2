"""Blind controls beside a table, and the warning where they do nearly as well."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from runners.report import format_table, load_run, write_report
from runners.report.controls import find_controls, judge_controls
from runners.report.summary import build_summary
from runners.report.sweep import collect_sweep

WriteRun = Callable[..., Path]

CONTROL = {"cache": "none", "arms": ("baseline",), "num_tasks": 2, "num_inits": 6}


def control(rate: float, model: str = "blind", count: int = 20) -> dict[str, object]:
    return {"model": model, "successes": round(rate * count), "num_episodes": count, "success_rate": rate}


def change_run(folder: Path, **changes: object) -> None:
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(("rate", "warns"), [(0.0, False), (0.69, False), (0.70, True), (0.95, True)])
def test_warns_within_20_points_of_the_baseline(rate: float, warns: bool) -> None:
    (line,) = judge_controls([control(rate)], baseline=0.90)
    assert ("cannot show harm" in line) == warns
    assert f"{100 * rate:.1f} %" in line


def test_without_a_baseline_the_control_is_only_told() -> None:
    (line,) = judge_controls([control(0.5)], baseline=None)
    assert "cannot show harm" not in line


def test_controls_of_the_folder_stand_in_report_and_table(write_run: WriteRun) -> None:
    run = write_run("demo", success=(1.0, 1.0))
    write_run("eyes", model="blind", success=(1.0, 1.0), **CONTROL)
    write_run("tape", model="replay", success=(0.0, 0.0), **CONTROL)
    summary = write_report(run)
    assert [(c["model"], c["successes"], c["num_episodes"]) for c in summary["controls"]] == [
        ("blind", 12, 12),
        ("replay", 0, 12),
    ]
    assert summary["verdicts"][0].startswith("WARNING, this table cannot show harm: Control blind: 100.0 % (12/12)")
    assert "cannot show harm" in (run / "report.md").read_text()
    assert "cannot show harm" in " ".join(format_table(summary).split())
    assert "Control replay: 0.0 % (0/12), without seeing the scene." in summary["verdicts"]


def test_the_longest_control_of_a_model_counts(write_run: WriteRun) -> None:
    run = write_run("demo")
    write_run("short", model="replay", **{**CONTROL, "num_inits": 5})
    write_run("long", model="replay", **CONTROL)
    write_run("tiny", model="blind", **{**CONTROL, "num_inits": 2})  # too few to say anything
    (found,) = find_controls(run.parent, build_summary(load_run(run)))
    assert found["num_episodes"] == 12


@pytest.mark.parametrize("other", ["assets", "suite", "checkpoint", "broken"])
def test_controls_of_other_conditions_are_left_out(write_run: WriteRun, other: str) -> None:
    run = write_run("demo")
    folder = write_run("eyes", model="blind", **CONTROL)
    if other == "checkpoint":
        change_run(folder, checkpoint="someone@else")
    elif other == "broken":
        (folder / "run.json").write_text("{")
    else:
        rows = [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]
        value = (
            {"source": "folder", "digest": "0", "render": "fast", "detail": ""} if other == "assets" else "libero_goal"
        )
        (folder / "episodes.jsonl").write_text("".join(json.dumps({**row, other: value}) + "\n" for row in rows))
        change_run(folder, **{other: value})
    assert find_controls(run.parent, build_summary(load_run(run))) == []


def test_a_control_has_no_controls(write_run: WriteRun) -> None:
    run = write_run("eyes", model="blind", **CONTROL)
    write_run("tape", model="replay", **CONTROL)
    assert write_report(run)["controls"] == []


def test_sweep_notes_the_controls_beside_its_folder(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("sweep/adaptive", success=(1.0, 1.0))
    write_run("eyes", model="blind", success=(1.0, 1.0), **CONTROL)
    assert "cannot show harm" in collect_sweep(tmp_path / "sweep").notes[0]
