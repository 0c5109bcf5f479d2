"""The model card says what the files say."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from runners.report.model_card import evaluation_of_run, render_card, write_model_card

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
    (folder / "model.safetensors").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    (folder / "training.json").write_text(json.dumps({**TRAINING, "sha256": digest}))
    return folder


def evaluation(checkpoint: Path, successes: int, trials: int) -> dict:
    digest = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    tasks = {"0": {"instruction": "do it", "successes": successes, "trials": trials}}
    return {
        "suite": "libero_spatial", "placement": "wide", "assets": "builtin@1/fast", "model": "tiny_oft", "errors": 0,
        "checkpoint": f"tiny_oft@{digest[:12]}", "init_indices": [0, 1, 2], "tasks": tasks,
    }  # fmt: skip


def test_the_card_holds_success_intervals_controls_and_hash(checkpoint: Path) -> None:
    blind = {"name": "blind", **evaluation(checkpoint, 1, 20)}
    facts = {
        "evaluations": [evaluation(checkpoint, 18, 20)], "controls": [blind], "known_failures": ["It drops the bowl."],
    }  # fmt: skip
    write_model_card(checkpoint, facts)
    text = (checkpoint / "README.md").read_text()
    assert "18/20 = 90% [70%, 97%]" in text  # Wilson by hand: (0.9 + 0.096 -+ 0.1599...) / 1.192
    assert "| blind | libero_spatial | wide | 1/20 = 5% [1%, 24%] |" in text
    assert hashlib.sha256(b"weights").hexdigest() in text
    assert "12 episodes, 340 frames, 10 tasks" in text and "- It drops the bowl." in text and "90.0%" in text
    assert render_card(json.loads((checkpoint / "card.json").read_text())) == text


def test_every_training_run_of_a_chain_has_a_row(checkpoint: Path) -> None:
    own = json.loads((checkpoint / "training.json").read_text())
    first = {**own, "samples": 777, "init_from": None}
    (checkpoint / "training.json").write_text(json.dumps({**own, "stages": [first], "init_from": "abc"}))
    write_model_card(checkpoint, {})
    text = (checkpoint / "README.md").read_text()
    assert "| 1 | random weights | " in text and "| 2 | `abc` | " in text and "| 777 of " in text


def test_other_weights_are_refused(checkpoint: Path) -> None:
    facts = {"evaluations": [{**evaluation(checkpoint, 1, 2), "checkpoint": "tiny_oft@000000000000"}]}
    with pytest.raises(ValueError, match="evaluation: expected weights"):
        write_model_card(checkpoint, facts)
    (checkpoint / "model.safetensors").write_bytes(b"others")
    with pytest.raises(ValueError, match=r"\(training.json\)"):
        write_model_card(checkpoint, {})


def test_what_was_not_measured_is_said(checkpoint: Path) -> None:
    write_model_card(checkpoint, {})
    assert "Not measured." in (checkpoint / "README.md").read_text()


def test_an_evaluation_is_read_from_a_run(write_run) -> None:
    run_dir = write_run(num_tasks=2, num_inits=4, errors=frozenset({("baseline", 0, 1)}))
    found = evaluation_of_run(run_dir)
    assert found["errors"] == 1 and found["tasks"]["0"]["trials"] == 3 and found["tasks"]["1"]["trials"] == 4
    assert found["suite"] == "libero_spatial" and found["init_indices"] == [0, 1, 2, 3]
