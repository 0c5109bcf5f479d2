"""For which suites weights were made, and the warning where a run is of another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runners.build import build_arms
from runners.overrides import compose_run
from runners.trained_on import training_suites, warn_other_suite


def write(folder: Path, name: str, content: Any) -> None:
    (folder / name).write_text(json.dumps(content))


def test_the_demonstrations_of_all_runs_tell(tmp_path: Path) -> None:
    goal, spatial = {"suite": "libero_goal"}, {"suite": "libero_spatial"}
    write(tmp_path, "training.json", {"stages": [{"collections": [goal]}], "collections": [spatial, goal]})
    write(tmp_path, "card.json", {"evaluations": [{"suite": "libero_object"}]})
    assert training_suites(tmp_path) == ("libero_goal", "libero_spatial")


def test_the_card_tells_where_a_run_does_not(tmp_path: Path) -> None:
    write(tmp_path, "training.json", {"stages": [{}], "collections": [{"suite": "libero_goal"}]})
    assert training_suites(tmp_path) == ()
    write(tmp_path, "card.json", {"evaluations": [{"suite": "libero_spatial"}] * 2})
    assert training_suites(tmp_path) == ("libero_goal", "libero_spatial")


@pytest.mark.parametrize("content", ["{", "[]"])
def test_broken_facts_tell_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "training.json").write_text(content)
    assert training_suites(tmp_path) == ()


@pytest.mark.parametrize(
    ("words", "suites"),
    [
        (["suite=libero_goal"], ("libero_goal", "libero_object", "libero_spatial")),
        (["suite=libero_goal", "model=blind"], ("libero_goal", "libero_object", "libero_spatial")),
        (["suite=libero_goal", "model=tiny_openvla"], ("libero_spatial",)),
        (["suite=libero_goal", "model.checkpoint=null"], ()),
    ],
)
def test_the_suites_of_the_weights_that_ship(words: list[str], suites: tuple[str, ...]) -> None:
    assert build_arms(compose_run([*words, "device=cpu", "model.dtype=float32"]).config).trained_on == suites


def test_another_suite_is_warned_of() -> None:
    warning = warn_other_suite("libero_goal", "tiny_oft", ("libero_spatial",))
    assert warning is not None
    assert "weights of tiny_oft were made for libero_spatial, this run is libero_goal" in warning
    assert warn_other_suite("libero_spatial", "tiny_oft", ("libero_spatial",)) is None
    assert warn_other_suite("libero_goal", "tiny_oft", ()) is None
    assert warn_other_suite("toy", "tiny_oft", ("libero_spatial",)) is None
