"""Tables that only SIMPLER's reports have: settings, the rows of the published tables, stand-ins."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from runners.journal import EPISODES_FILE, RUN_FILE
from runners.report.load import load_run
from runners.report.markdown import format_markdown
from runners.report.simpler_tables import summarize_families, summarize_stand_ins
from runners.report.summary import build_summary
from runners.report.terminal import format_table
from tests.report.conftest import WriteRun

VM = "simpler_google_vm"


def task(task_id: int, policy: float, baseline: float, count: int = 10) -> dict[str, Any]:
    return {
        "task_id": task_id,
        "num_episodes": count,
        "success_rate": {"policy": policy, "baseline": baseline},
    }


def test_families_are_means_over_their_tasks_and_the_average_is_over_families() -> None:
    """The published 74.8 is (91.3 + 85.0 + 71.8 + 50.9) / 4, not the share of all 864 episodes."""
    tasks = [task(i, 0.913, 1.0) for i in range(3)] + [task(3, 0.85, 1.0)]
    tasks += [task(i, 0.718 + (0.1 if i % 2 else -0.1), 1.0) for i in range(4, 10)] + [task(10, 0.509, 1.0)]
    rows = summarize_families(VM, tasks)
    assert [row["name"] for row in rows][-2:] == ["open top drawer and place apple", "average"]
    assert rows[2]["success_rate"]["policy"] == pytest.approx(0.718)
    assert rows[-1]["success_rate"] == {"policy": pytest.approx(0.7475), "baseline": pytest.approx(1.0)}
    assert rows[-1]["task_ids"] == list(range(11))


def test_parts_of_a_family_are_marked_and_have_no_average() -> None:
    rows = summarize_families(VM, [task(0, 0.5, 0.5), task(1, 0.7, 0.5), task(3, 0.2, 0.1), task(10, 0.0, 0.0, 0)])
    assert [(row["name"], row["complete"], row["task_ids"]) for row in rows] == [
        ("pick coke can", False, [0, 1]),
        ("move near", True, [3]),
    ]
    assert rows[0]["success_rate"]["policy"] == pytest.approx(0.6)
    assert summarize_families("libero_spatial", [task(0, 0.5, 0.5)]) == []


def test_stand_ins_are_listed_by_task() -> None:
    episodes = pd.DataFrame({"task_id": [3, 3, 0, 4], "stand_ins": [["bottle", "can"], ["can"], [], ["room"]]})
    assert summarize_stand_ins(episodes) == [
        {"task_id": 3, "names": ["bottle", "can"]},
        {"task_id": 4, "names": ["room"]},
    ]


@pytest.fixture
def report(write_run: WriteRun) -> dict[str, Any]:
    """Summary and texts of a synthetic run turned into one of variant aggregation, darker in every second layout."""
    folder = write_run(
        "va", config={"seed": 0, "suite": {"success_rule": "final_step", "settings": ["base", "darker"]}}
    )
    _turn_into_va(folder)
    frames = load_run(folder)
    summary = build_summary(frames)
    return {"summary": summary, "markdown": format_markdown(summary, frames.run, ()), "text": format_table(summary)}


def _turn_into_va(folder: Path) -> None:
    run = json.loads((folder / RUN_FILE).read_text())
    (folder / RUN_FILE).write_text(json.dumps({**run, "suite": "simpler_google_va"}))
    rows = [json.loads(line) for line in (folder / EPISODES_FILE).read_text().splitlines()]
    for row in rows:
        old = f"{row['arm']}-{row['cache']}-{row['suite']}-t{row['task_id']:02d}"
        for path in (folder / "steps").glob(f"{old}-*"):
            path.rename(path.with_name(path.name.replace("libero_spatial", "simpler_google_va")))
        setting = ("base", "darker")[row["init_index"] % 2]
        row |= {"suite": "simpler_google_va", "setting": setting, "stand_ins": ["slab"] if row["task_id"] == 1 else []}
    (folder / EPISODES_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_settings_have_rows_of_their_own(report: dict[str, Any]) -> None:
    parts, whole = report["summary"]["settings"], report["summary"]
    assert [part["setting"] for part in parts] == ["base", "darker"]
    assert sum(part["num_episodes"] for part in parts) == whole["num_episodes"]
    for arm in ("policy", "baseline"):
        assert sum(part["success_counts"][arm] for part in parts) == whole["success_counts"][arm]


def test_the_report_says_them(report: dict[str, Any]) -> None:
    markdown = report["markdown"]
    assert "settings base + darker alone" in markdown.splitlines()[0]
    assert "## Per setting" in markdown and "| darker |" in markdown
    assert "pick coke can (in part) | 0, 1" in markdown
    assert "is not the original's: task 1: slab." in markdown
    assert "| 1 | pick coke can, vertical |" in markdown
    assert "at any step" in report["text"]
    assert "| task 1, adaptive |" in markdown.split("success by rule")[1].split("## Latency")[0]


def test_other_suites_have_none_of_it(write_run: WriteRun) -> None:
    frames = load_run(write_run("plain"))
    summary = build_summary(replace(frames))
    assert (summary["settings"], summary["families"], summary["stand_ins"]) == ([], [], [])
    assert "setting" not in format_markdown(summary, frames.run, ()).split("## Definitions")[0]
