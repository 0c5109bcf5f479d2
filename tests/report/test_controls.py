"""Blind controls beside a table: on the same episodes, a warning where they do nearly as well, and what is missing."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from runners.overrides import compose_run
from runners.report import card_controls, format_table, load_run, write_report
from runners.report.card_controls import PACKAGED
from runners.report.controls import control_command, find_controls, judge_controls
from runners.report.episode_rules import EPISODE_RULES
from runners.report.pairs import Outcomes, baseline_outcomes, pair_episodes
from runners.report.summary import build_summary
from runners.report.sweep import collect_sweep

WriteRun = Callable[..., Path]

CONTROL = {"cache": "none", "arms": ("baseline",), "num_tasks": 2, "num_inits": 6}
RUN = {"num_tasks": 2, "num_inits": 6}


def control(rate: float, baseline: float = 0.9, count: int = 100, source: str = "eyes") -> dict[str, object]:
    own = {"baseline_successes": round(baseline * count), "baseline_episodes": count, "baseline_rate": baseline}
    told = {"successes": round(rate * count), "num_episodes": count, "success_rate": rate}
    return {"model": "blind", "source": source, **told, **own}


def find(run: Path) -> list[dict[str, Any]]:
    summary, outcomes = summary_and_outcomes(run)
    return find_controls(run.parent, summary, outcomes)


def summary_and_outcomes(run: Path) -> tuple[dict[str, Any], Outcomes]:
    frames = load_run(run)
    summary = build_summary(frames)
    return summary, baseline_outcomes(pair_episodes(frames.episodes, mirrored=summary["mirrored"]))


def change_run(folder: Path, **changes: object) -> None:
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_rows(folder: Path, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """Rewrite every episode row as ``change`` says; None leaves a row out."""
    path = folder / "episodes.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({**row, **change(row)}) + "\n" for row in rows))


@pytest.mark.parametrize(("rate", "warns"), [(0.0, False), (0.69, False), (0.70, True), (0.95, True)])
def test_warns_within_20_points_of_the_baseline(rate: float, warns: bool) -> None:
    (line,) = judge_controls([control(rate)])
    assert ("cannot show harm" in line) == warns
    assert f"{100 * rate:.1f} % ({round(100 * rate)}/100); no cache on the same episodes: 90.0 % (90/100)." in line


@pytest.mark.parametrize("pairs", [5, 10, 15, 50, 200, 500])
def test_exactly_20_points_are_within_20_points(pairs: int) -> None:
    """In floats 134/200 - 94/200 is more than 0.2, and so are others."""
    told = {"model": "blind", "source": "eyes", "num_episodes": pairs, "baseline_episodes": pairs}
    for solved in range(pairs - pairs // 5 + 1):
        own = {"baseline_successes": solved + pairs // 5, "baseline_rate": (solved + pairs // 5) / pairs}
        edge, below = (
            judge_controls([{**told, **own, "successes": count, "success_rate": count / pairs}])[0]
            for count in (solved, solved - 1)
        )
        assert "cannot show harm" in edge
        assert "cannot show harm" not in below


def test_controls_of_the_folder_stand_in_report_and_table(write_run: WriteRun) -> None:
    run = write_run("demo", success=(1.0, 1.0), **RUN)
    write_run("eyes", model="blind", success=(1.0, 1.0), **CONTROL)
    write_run("tape", model="replay", success=(0.0, 0.0), **CONTROL)
    summary = write_report(run)
    assert [(c["model"], c["source"], c["successes"], c["num_episodes"]) for c in summary["controls"]] == [
        ("blind", "demo", 12, 12),
        ("replay", "demo", 0, 12),
    ]
    warning = "WARNING, this table cannot show harm: control blind, without seeing the scene: 100.0 % (12/12)"
    assert summary["verdicts"][0].startswith(warning)
    assert "cannot show harm" in (run / "report.md").read_text()
    assert "cannot show harm" in " ".join(format_table(summary).split())
    told = "Control replay, without seeing the scene: 0.0 % (0/12); no cache on the same episodes: 100.0 % (12/12)."
    assert told in summary["verdicts"]


def test_both_rates_are_of_the_shared_episodes(write_run: WriteRun) -> None:
    """The run fails from state 6 on, the control has states 0 to 5 of its own and solves from 3 on."""
    run = write_run("demo", success=(1.0, 1.0), num_tasks=2, num_inits=10)
    change_rows(run, lambda row: {"status": "failure"} if row["init_index"] >= 6 else {})
    eyes = write_run("eyes", model="blind", success=(1.0, 1.0), **{**CONTROL, "num_inits": 8})
    change_rows(eyes, lambda row: {"status": "success" if row["init_index"] >= 3 else "failure"})
    (found,) = find(run)
    assert (found["successes"], found["num_episodes"]) == (10, 16)
    assert (found["baseline_successes"], found["baseline_episodes"]) == (12, 16)


def test_the_control_that_shares_most_counts(write_run: WriteRun) -> None:
    run = write_run("demo", **RUN)
    write_run("short", model="replay", **{**CONTROL, "num_inits": 5})
    write_run("long", model="replay", **CONTROL)
    elsewhere = write_run("elsewhere", model="replay", **{**CONTROL, "num_inits": 12})
    change_rows(elsewhere, lambda row: {"env_seed": 7})
    write_run("tiny", model="blind", **{**CONTROL, "num_inits": 2})  # too few to say anything
    (found,) = find(run)
    assert (found["model"], found["num_episodes"]) == ("replay", 12)


def test_a_control_without_a_task_of_the_run_is_none(write_run: WriteRun) -> None:
    run = write_run("demo", num_tasks=3, num_inits=12)
    write_run("eyes", model="blind", **{**CONTROL, "num_inits": 12})
    assert find(run) == []


OTHER = ["assets", "suite", "placement", "reseed", "checkpoint", "broken", "max_steps", "success_rule", "sensor_noise"]


@pytest.mark.parametrize("other", OTHER)
def test_controls_of_other_conditions_are_left_out(write_run: WriteRun, other: str) -> None:
    run = write_run("demo", **RUN)
    folder = write_run("eyes", model="blind", **CONTROL)
    assert len(find(run)) == 1
    if other == "checkpoint":
        change_run(folder, checkpoint="someone@else")
    elif other in EPISODE_RULES:
        value = {"max_steps": 40, "success_rule": "any_step", "sensor_noise": 0.1}[other]
        change_run(folder, config={"seed": 0, "suite": {other: value}})
        change_run(run, config={"seed": 0, "suite": {other: value}})
        assert len(find(run)) == 1  # the same rule in both
        change_run(folder, config={"seed": 0, "suite": {}})
    elif other == "broken":
        (folder / "run.json").write_text("{")
    else:
        values = {"assets": {"source": "folder", "digest": "0", "render": "fast", "detail": ""}, "placement": "wide"}
        value = values.get(other, "libero_goal" if other == "suite" else "task")
        change_rows(folder, lambda row: {other: value})
        if other in ("assets", "suite"):
            change_run(folder, **{other: value})
    assert find(run) == []


def test_the_same_weights_in_another_folder_are_the_same(write_run: WriteRun) -> None:
    run = write_run("demo", checkpoint="tiny_oft@0123456789ab", **RUN)
    write_run("eyes", model="blind", checkpoint="last@0123456789ab", **CONTROL)
    assert len(find(run)) == 1


def test_a_control_has_no_controls_and_misses_none(write_run: WriteRun) -> None:
    run = write_run("eyes", model="blind", weights="trained", **CONTROL)
    write_run("tape", model="replay", **CONTROL)
    summary = write_report(run)
    assert summary["controls"] == [] and "control" not in " ".join(summary["verdicts"])


def test_sweep_notes_the_controls_beside_its_folder(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("sweep/adaptive", success=(1.0, 1.0), weights="trained", **RUN)
    write_run("eyes", model="blind", success=(1.0, 1.0), **CONTROL)
    notes = collect_sweep(tmp_path / "sweep").notes
    assert "cannot show harm" in notes[0]
    assert notes[-1].startswith("No replay control beside this table")


def test_what_is_missing_is_said_with_its_command(write_run: WriteRun) -> None:
    suite = {"name": "libero_spatial", "placement": "wide", "task_ids": [0, 1], "episodes_per_task": 6}
    suite |= {"max_steps": 40, "success_rule": "any_step"}
    config = {"seed": 3, "assets": "builtin", "suite": suite, "model": {"checkpoint": "some/folder"}}
    run = write_run("demo", weights="trained", placement="wide", config=config, **RUN)
    write_run("tape", model="replay", placement="wide", success=(0.0, 0.0), config=config, **CONTROL)
    verdicts = write_report(run)["verdicts"]
    assert verdicts[-1].startswith("No blind control beside this table")
    assert not any(line.startswith("No replay control") for line in verdicts)
    words = shlex.split(verdicts[-1].split("`")[1])
    assert words[:2] == ["python", "run.py"]
    composed = compose_run(words[2:]).config
    assert (composed.model.name, composed.model.base, composed.model.checkpoint) == ("blind", "tiny_oft", "some/folder")
    assert (composed.suite.placement, composed.suite.task_ids, composed.suite.episodes_per_task) == ("wide", (0, 1), 6)
    assert (composed.suite.max_steps, composed.suite.success_rule) == (40, "any_step")
    assert composed.seed == 3


def test_replay_has_no_model_keys() -> None:
    words = control_command("replay", {"model": "tiny_oft", "suite": "toy", "placement": "official"}, {"seed": 0})
    assert words == "python run.py model=replay suite=toy suite.placement=official seed=0"


@pytest.mark.parametrize("weights", ["untrained", "none"])
def test_only_a_trained_model_misses_a_control(write_run: WriteRun, weights: str) -> None:
    assert not any("control" in line for line in write_report(write_run("demo", weights=weights, **RUN))["verdicts"])


def test_few_episodes_have_no_control(write_run: WriteRun) -> None:
    verdicts = write_report(write_run("demo", weights="trained", num_tasks=1, num_inits=3))["verdicts"]
    assert verdicts[-1] == "No blind and no replay control: a table of fewer than 10 episodes has none."


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A packaged card: 4 of 10 blind on each of three tasks, all of them on the third."""
    tasks = {str(task): {"instruction": "", "successes": 10 if task == 2 else 4, "trials": 10} for task in range(3)}
    where = {"suite": "libero_spatial", "placement": "official", "assets": "builtin@1a2b3c4d5e6f7a8b/fast"}
    content = {"sha256": "0123456789ab" + "c" * 52, "controls": [{"name": "blind", **where, "tasks": tasks}]}
    (tmp_path / "packaged" / "tiny_oft").mkdir(parents=True)
    (tmp_path / "packaged" / "tiny_oft" / "card.json").write_text(json.dumps(content))
    monkeypatch.setattr(card_controls, "PACKAGED", tmp_path / "packaged")
    return content


def test_without_a_run_the_card_of_the_weights_speaks(write_run: WriteRun, card: dict[str, Any]) -> None:
    knobs = {"weights": "trained", "success": (1.0, 1.0), "checkpoint": "last@0123456789ab", **RUN}
    (found,) = find(write_run("demo", **knobs))
    assert (found["source"], found["successes"], found["num_episodes"]) == ("model card", 8, 20)  # tasks 0 and 1 only
    (line,) = judge_controls([found])
    assert "40.0 % (8/20) by the checkpoint's model card, on its own episodes of these tasks" in line
    assert "no cache here: 100.0 % (12/12)" in line and "WARNING" not in line
    (few,) = judge_controls([{**found, "baseline_successes": 0, "baseline_episodes": 9, "baseline_rate": 0.0}])
    assert "WARNING" not in few and "no cache here: 0.0 % (0/9), too few to say" in few  # the model failed, no more
    (many,) = judge_controls([{**found, "baseline_successes": 0, "baseline_episodes": 10, "baseline_rate": 0.0}])
    assert many.startswith("WARNING")
    write_run("runs/eyes", model="blind", **{**CONTROL, "checkpoint": "tiny_oft@0123456789ab"})
    assert find(write_run("runs/demo", **knobs))[0]["source"] == "demo"  # a run beside the table comes first


def test_a_card_by_other_rules_is_silent(write_run: WriteRun, card: dict[str, Any]) -> None:
    path = card_controls.PACKAGED / "tiny_oft" / "card.json"
    suite = {"max_steps": 220, "success_rule": "first"}
    run = write_run("demo", checkpoint="tiny_oft@0123456789ab", config={"suite": suite}, **RUN)
    own = summary_and_outcomes(run)[0]
    rules = {"reseed": "episode", **own["episode_rules"]}
    for changed, number in ((rules, 1), ({**rules, "max_steps": 40}, 0), ({**rules, "reseed": "task"}, 0)):
        (control_of_card,) = card["controls"]
        path.write_text(json.dumps({**card, "controls": [{**control_of_card, "rules": changed}]}))
        assert len(find(run)) == number


@pytest.mark.parametrize(
    "knobs",
    [{"checkpoint": "tiny_oft@ffffffffffff"}, {"checkpoint": None}, {"placement": "wide"}, {"num_tasks": 4}],
    ids=["weights", "no checkpoint", "placement", "a task the card has not"],
)
def test_a_card_of_something_else_is_silent(write_run: WriteRun, card: dict[str, Any], knobs: dict[str, Any]) -> None:
    run = write_run("demo", **{"checkpoint": "tiny_oft@0123456789ab", **RUN, **knobs})
    assert find(run) == []


def test_cards_are_looked_for_where_the_package_keeps_them() -> None:
    assert list(PACKAGED.glob("*/card.json"))
