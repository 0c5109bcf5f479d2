"""Cache policies on validation starts: what is played once, what is refused, and what the table says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runners.envs.toy import make_toy_env
from runners.experts.toy import ToyExpert
from runners.policy_choice import ChoiceFile, ChoiceRow, choice_table, play
from tests.runner.test_closed_loop import Idle

SETTINGS = {"suite": "toy", "checkpoint": "one@abc"}


def played(path: Path, policies: dict[str, Any], starts: range = range(2)) -> list[ChoiceRow]:
    """The rows that this call had to play."""
    file = ChoiceFile(path, SETTINGS)
    return list(play("toy", "official", make_toy_env, policies, [0, 2], starts, file))


def test_a_second_call_plays_only_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "choice.jsonl"
    first = played(path, {"none": ToyExpert()})
    assert [(row.task, row.start, row.success) for row in first] == [(t, s, True) for t in (0, 2) for s in (0, 1)]
    assert not played(path, {"none": ToyExpert()})
    more = played(path, {"none": ToyExpert(), "idle": Idle()}, range(3))
    assert [row.cache for row in more if row.start < 2] == ["idle"] * 4
    assert sorted((row.cache, row.task) for row in more if row.start == 2) == [
        ("idle", 0),
        ("idle", 2),
        ("none", 0),
        ("none", 2),
    ]
    assert ChoiceFile(path, SETTINGS).rows == first + more


def test_a_line_that_a_kill_cut_is_played_again(tmp_path: Path) -> None:
    path = tmp_path / "choice.jsonl"
    rows = played(path, {"none": ToyExpert()})
    path.write_bytes(path.read_bytes()[:-9])
    assert played(path, {"none": ToyExpert()}) == rows[-1:]
    assert ChoiceFile(path, SETTINGS).rows == rows


def test_a_header_that_a_kill_cut_behind_its_last_letter_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "choice.jsonl"
    ChoiceFile(path, SETTINGS)
    path.write_bytes(path.read_bytes()[:-1])
    rows = played(path, {"none": ToyExpert()})
    assert ChoiceFile(path, SETTINGS).rows == rows


def test_rows_of_other_weights_are_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "choice.jsonl"
    played(path, {"none": ToyExpert()})
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"other@def.*got.*one@abc.*give another --output"):
        ChoiceFile(path, {**SETTINGS, "checkpoint": "other@def"})
    assert path.read_bytes() == before


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "choice.jsonl"
    played(path, {"none": ToyExpert()})
    path.write_text(path.read_text() + '{"cache": "none"}\n')
    with pytest.raises(ValueError, match=r"choice\.jsonl: expected one episode a line"):
        ChoiceFile(path, SETTINGS)


def test_an_error_is_no_failure_and_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"broken: task 0, start 0 failed(.|\n)*policy broke"):
        played(tmp_path / "choice.jsonl", {"broken": Idle(broken=1)})
    assert ChoiceFile(tmp_path / "choice.jsonl", SETTINGS).rows == []


def test_lost_and_won_are_counted_on_shared_starts_alone() -> None:
    outcomes = {"none": [True, True, False, True], "a": [True, False, True], "b": [False, False, False, False]}
    rows = [
        ChoiceRow(word, "wide", 1, start, success, 0.25 if word == "a" else 0.0)
        for word, successes in outcomes.items()
        for start, success in enumerate(successes)
    ]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in choice_table(rows).splitlines()]
    assert lines[2] == ["`none`", "0.0 %", "3/4", "", "", ""]
    assert lines[3][:5] == ["`a`", "25.0 %", "2/3", "1", "1"] and lines[3][5].startswith("0.0 [")
    assert lines[4][2:5] == ["0/4", "3", "0"] and lines[4][5].startswith("-75.0 [")
