"""The model card says what the files say."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from runners.controls.replay import POOL
from runners.report.model_card import count_parameters, evaluation_of_run, render_card, write_model_card
from scripts.write_model_card import known_failures

WEIGHTS = save(
    {"a": np.zeros((3, 5), np.float16), "b": np.zeros(7, np.float32), "scalar": np.zeros((), np.float32)},
    {"by": "test"},
)
TRAINING = {
    "config": {"model": "tiny_oft", "samples": 1000, "learning_rate": 0.001, "batch_size": 64, "seed": 3},
    "demos": {"episodes": 12, "frames": 340, "tasks": 10, "digest": "abcd"},
    "init_from": None,
    "dtype": "bfloat16",
    "step": 9,
    "samples": 576,
    "validation": {"success": 0.9},
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny_oft"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    (folder / "training.json").write_text(json.dumps({**TRAINING, "sha256": digest}))
    return folder


def evaluation(checkpoint: Path, successes: int, trials: int) -> dict:
    digest = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    tasks = {"0": {"instruction": "do it", "successes": successes, "trials": trials}}
    return {
        "suite": "libero_spatial", "placement": "wide", "assets": "builtin@1/fast", "model": "tiny_oft", "errors": 0,
        "checkpoint": f"tiny_oft@{digest[:12]}", "init_indices": [0, 1, 2], "env_seeds": [0], "tasks": tasks,
    }  # fmt: skip


def control(folder: Path, successes: int, trials: int, **changes: object) -> dict:
    return {"name": "blind", **evaluation(folder, successes, trials), "model": "blind", **changes}


def test_the_card_holds_success_intervals_controls_and_hash(checkpoint: Path) -> None:
    blind = control(checkpoint, 1, 20)
    facts = {
        "evaluations": [evaluation(checkpoint, 18, 20)], "controls": [blind], "known_failures": ["It drops the bowl."],
    }  # fmt: skip
    write_model_card(checkpoint, facts)
    text = (checkpoint / "README.md").read_text()
    assert "18/20 = 90.0% [70%, 97%]" in text  # Wilson by hand: (0.9 + 0.096 -+ 0.1599...) / 1.192
    assert "| blind | libero_spatial | wide | builtin@1/fast | states 0 to 2; seed 0 | 1/20 = 5.0% [1%, 24%] |" in text
    assert hashlib.sha256(WEIGHTS).hexdigest() in text
    assert "12 episodes, 340 frames, 10 tasks" in text and "- It drops the bowl." in text and "90.0%" in text
    assert render_card(json.loads((checkpoint / "card.json").read_text())) == text


def test_every_training_run_of_a_chain_has_a_row(checkpoint: Path) -> None:
    own = json.loads((checkpoint / "training.json").read_text())
    first = {**own, "samples": 777, "init_from": None}
    last = {**own, "config": {**own["config"], "init_parts": "vision"}, "stages": [first], "init_from": "abc"}
    (checkpoint / "training.json").write_text(json.dumps(last))
    write_model_card(checkpoint, {})
    text = (checkpoint / "README.md").read_text()
    assert "| 1 | random weights | " in text and "| 2 | `abc`, vision alone | " in text and "| 777 of " in text
    assert "| updates, last run and all | 9, 18 |" in text


def test_the_card_says_where_the_demonstrations_come_from(checkpoint: Path) -> None:
    """A folder that a run listed twice counts twice in its episodes, and is one row."""
    own = json.loads((checkpoint / "training.json").read_text())
    spatial = {
        "episodes": 5, "suite": "libero_spatial", "placement": "wide", "tasks": [7, 0, 1, 2], "seed": 3,
        "assets": "builtin@1/fast", "recording": {"jitter": ["colour", "light"]},
    }  # fmt: skip
    goal = {**spatial, "suite": "libero_goal", "placement": "official", "novice": "last@abc", "episodes": 2}
    goal["recording"] = {}
    stages = [own, {**own, "demos": {**own["demos"], "episodes": 5}, "collections": [spatial]}]
    (checkpoint / "training.json").write_text(
        json.dumps({**own, "stages": stages, "collections": [spatial, goal], "init_from": "abc"})
    )
    write_model_card(checkpoint, {})
    text = (checkpoint / "README.md").read_text()
    assert "| 3 | `abc` | 12 episodes (7 in the collections below), 340 frames" in text
    assert "| 2 | random weights | 5 episodes, 340 frames" in text
    assert "Not recorded for run 1." in text
    assert "| 2, 3 | libero_spatial | wide | 0 to 2, 7 | 3 | nothing | colour, light | builtin@1/fast | 5 |" in text
    assert "| 3 | libero_goal | official | 0 to 2, 7 | 3 | last@abc | none | builtin@1/fast | 2 |" in text


def test_parameters_are_counted_from_the_weights(checkpoint: Path) -> None:
    assert count_parameters(checkpoint / "model.safetensors") == 3 * 5 + 7 + 1
    write_model_card(checkpoint, {})
    assert "| parameters | 23 |" in (checkpoint / "README.md").read_text()


def test_states_with_gaps_and_seeds_are_named(checkpoint: Path) -> None:
    shown = {**evaluation(checkpoint, 1, 2), "init_indices": [0, 1, 2, 5, 8, 9], "env_seeds": [3, 4]}
    write_model_card(checkpoint, {"evaluations": [shown]})
    assert "states 0 to 2, 5, 8 to 9; seeds 3, 4; Wilson" in (checkpoint / "README.md").read_text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checkpoint": "tiny_oft@000000000000"}, "control blind: expected weights"),
        ({"placement": "official"}, "control blind: expected suite, placement and assets of libero_spatial, wide"),
        ({"assets": "shared-pack@2/fast"}, "got libero_spatial, wide, shared-pack@2/fast"),
        ({"suite": "libero_goal"}, "got libero_goal, wide"),
        ({"model": "tiny_oft"}, "control blind: expected a run of model=blind, got model=tiny_oft"),
        ({"name": "replay"}, "control replay: expected a run of model=replay, got model=blind"),
    ],
)
def test_a_control_of_something_else_is_refused(checkpoint: Path, changes: dict, words: str) -> None:
    facts = {"evaluations": [evaluation(checkpoint, 9, 10)], "controls": [control(checkpoint, 0, 10, **changes)]}
    with pytest.raises(ValueError, match=words):
        write_model_card(checkpoint, facts)
    assert not (checkpoint / "card.json").exists()


def test_replay_has_no_weights_to_compare(checkpoint: Path) -> None:
    replay = control(checkpoint, 0, 10, name="replay", model="replay", checkpoint=None)
    write_model_card(checkpoint, {"evaluations": [evaluation(checkpoint, 9, 10)], "controls": [replay]})
    assert "| replay | libero_spatial | wide |" in (checkpoint / "README.md").read_text()


def test_the_card_says_that_replay_has_few_recordings(checkpoint: Path) -> None:
    def told(trials: int) -> str:
        replay = control(checkpoint, 0, trials, name="replay", model="replay", checkpoint=None)
        replay["tasks"]["1"] = {**replay["tasks"]["0"], "trials": 3}
        write_model_card(checkpoint, {"evaluations": [evaluation(checkpoint, 9, 10)], "controls": [replay]})
        return (checkpoint / "README.md").read_text()

    assert f"one of {POOL} recordings of each task, so its episodes are at most {POOL + 3} distinct" in told(POOL + 1)
    assert "recordings" not in told(POOL)  # each may have played another


def test_other_weights_are_refused(checkpoint: Path) -> None:
    facts = {"evaluations": [{**evaluation(checkpoint, 1, 2), "checkpoint": "tiny_oft@000000000000"}]}
    with pytest.raises(ValueError, match="evaluation: expected weights"):
        write_model_card(checkpoint, facts)
    (checkpoint / "model.safetensors").write_bytes(b"others")
    with pytest.raises(ValueError, match=r"\(training.json\)"):
        write_model_card(checkpoint, {})


def test_known_failures_stay_with_their_weights(checkpoint: Path) -> None:
    assert known_failures(checkpoint) == []
    write_model_card(checkpoint, {"known_failures": ["It drops the bowl."]})
    assert known_failures(checkpoint) == ["It drops the bowl."]
    training = json.loads((checkpoint / "training.json").read_text())
    (checkpoint / "training.json").write_text(json.dumps({**training, "sha256": "0" * 64}))
    assert known_failures(checkpoint) == []


def test_what_was_not_measured_is_said(checkpoint: Path) -> None:
    write_model_card(checkpoint, {})
    assert "Not measured." in (checkpoint / "README.md").read_text()


def test_the_card_shows_the_rules_and_a_control_shares_them(checkpoint: Path) -> None:
    rules = {"reseed": "task", "max_steps": 300, "success_rule": "any_step", "settings": None}
    shown = {**evaluation(checkpoint, 9, 10), "rules": rules}
    write_model_card(checkpoint, {"evaluations": [shown], "controls": [control(checkpoint, 0, 10, rules=rules)]})
    note = "seed 0; max_steps 300, reseed task, success_rule any_step; Wilson"
    assert note in (checkpoint / "README.md").read_text()
    for changed in ({**rules, "max_steps": 40}, {**rules, "success_rule": "first"}, {**rules, "reseed": "episode"}):
        facts = {"evaluations": [shown], "controls": [control(checkpoint, 0, 10, rules=changed)]}
        with pytest.raises(ValueError, match=r"control blind: expected the rules of its evaluation \(max_steps 300"):
            write_model_card(checkpoint, facts)


def test_half_a_run_is_no_evaluation(write_run) -> None:
    suite = {"task_ids": [0, 1], "episodes_per_task": 4, "max_steps": 220, "success_rule": "first"}
    knobs = {"num_tasks": 2, "num_inits": 4, "errors": frozenset({("baseline", 0, 1)})}
    whole = evaluation_of_run(write_run("whole", config={"suite": suite}, **knobs))  # an error is an episode that ended
    assert (whole["rules"]["max_steps"], whole["rules"]["success_rule"]) == (220, "first")
    assert whole["rules"]["reseed"] == "episode"
    half = write_run("half", config={"suite": {**suite, "episodes_per_task": 5}}, **knobs)
    with pytest.raises(
        ValueError, match="half: expected all 10 planned episodes of arm 'baseline', got 8 of them; fin"
    ):
        evaluation_of_run(half)


def test_an_evaluation_is_read_from_a_run(write_run) -> None:
    run_dir = write_run(num_tasks=2, num_inits=4, errors=frozenset({("baseline", 0, 1)}))
    found = evaluation_of_run(run_dir)
    assert found["errors"] == 1 and found["tasks"]["0"]["trials"] == 3 and found["tasks"]["1"]["trials"] == 4
    assert found["suite"] == "libero_spatial" and found["init_indices"] == [0, 1, 2, 3]
    assert found["env_seeds"] == [0]
