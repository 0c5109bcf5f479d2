"""A run is made larger: what is there stays, what is new joins it, and nothing else may differ."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runners.files import write_text_atomic
from runners.identity import is_larger
from runners.journal import read_run
from runners.observers import Observer
from runners.records import RunRecord
from runners.report import load_run, write_report
from runners.report.pairs import count_outcomes, pair_episodes
from runners.suite import RunnerSettings
from tests.runner.helpers import ToyRun, make_run, outcome_of, rows


def sized(count: int | None, run_id: str = "demo", cache: str = "adaptive", **suite: object) -> RunRecord:
    """The record of a toy run with ``count`` episodes a task."""
    config = {**make_run().config["suite"], "episodes_per_task": count, **suite}
    return make_run(run_id, cache, suite=config)


def of_size(toy_run: ToyRun, count: int, **suite: object) -> ToyRun:
    """The same command with another number of episodes a task."""
    record = sized(count, toy_run.run.run_id, toy_run.run.cache, **suite)
    return replace(toy_run, episodes_per_task=count, run=replace(record, config_hash=f"of {count}"))


@pytest.fixture
def small(tmp_path: Path) -> ToyRun:
    """A finished run of two tasks with two episodes each."""
    run = ToyRun(tmp_path / "demo", episodes_per_task=2, run=sized(2))
    run()
    return run


def test_a_larger_run_keeps_what_is_there_and_runs_the_rest(small: ToyRun, tmp_path: Path) -> None:
    before = (small.run_dir / "episodes.jsonl").read_bytes()
    large = of_size(small, 5)
    outcome = large()
    assert (outcome.num_found, outcome.num_run, outcome.num_missing) == (8, 12, 0)
    assert (small.run_dir / "episodes.jsonl").read_bytes().startswith(before)
    whole = replace(large, run_dir=tmp_path / "whole", run=sized(5, "whole"))
    whole()
    assert {outcome_of(r) for r in rows(large)} == {outcome_of(r) for r in rows(whole)}
    orders = [{(r.key, r.pair_order) for r in rows(run)} for run in (large, whole)]
    assert orders[0] == orders[1], "which arm runs first does not depend on how the run came to its size"
    assert large().num_run == 0


def test_the_record_says_how_it_grew(small: ToyRun) -> None:
    (small.run_dir / "summary.json").write_text("{}")
    later = {"git_commit": "b" * 40, "created_at": "2026-12-01T00:00:00+00:00"}
    for count in (3, 5):
        large = of_size(small, count)
        replace(large, run=replace(large.run, **later))()
        assert not (small.run_dir / "summary.json").exists(), "figures of the smaller run, and the mark of its end"
    stored = read_run(small.run_dir)
    assert stored.config["suite"]["episodes_per_task"] == 5
    assert (stored.created_at, stored.git_commit, stored.config_hash) == (small.run.created_at, None, "of 5")
    steps = [{"episodes_per_task": n, "git_commit": "b" * 40, "at": "2026-12-01T00:00:00+00:00"} for n in (2, 3)]
    assert stored.grown == steps


@pytest.mark.parametrize(
    ("count", "suite", "message"),
    [
        (1, {}, r"episodes_per_task: 2 != 1\n.*larger suite\.episodes_per_task, never with a smaller"),
        (3, {"task_ids": [0]}, r"suite\.task_ids: \[0, 1\] != \[0\]"),
        (3, {"init_indices": [0, 1, 2]}, r"suite\.init_indices: '<absent>' != \[0, 1, 2\]"),
        (3, {"max_steps": 9}, r"suite\.max_steps"),
        (3, {"first_state": 1}, r"suite\.first_state"),
    ],
)
def test_other_changes_are_refused_and_change_nothing(
    small: ToyRun, count: int, suite: dict[str, Any], message: str
) -> None:
    before = {path: path.read_bytes() for path in small.run_dir.rglob("*") if path.is_file() and path.name != ".lock"}
    with pytest.raises(ValueError, match=message):
        of_size(small, count, **suite)()
    assert before == {path: path.read_bytes() for path in before}


def test_growth_alone_is_not_named_among_other_differences(small: ToyRun) -> None:
    with pytest.raises(ValueError, match=r"max_steps") as caught:
        of_size(small, 3, max_steps=9)()
    assert "episodes_per_task" not in str(caught.value)


def test_a_run_whose_episodes_depend_on_order_keeps_its_size(tmp_path: Path) -> None:
    settings = RunnerSettings(cache="adaptive", reseed="task")
    run = ToyRun(tmp_path / "demo", run=sized(2, reseed="task"), settings=settings)
    run()
    with pytest.raises(ValueError, match=r"Under suite\.reseed=task a run keeps its suite\.episodes_per_task"):
        of_size(run, 3, reseed="task")()


def test_a_run_of_named_states_keeps_them(tmp_path: Path) -> None:
    run = ToyRun(tmp_path / "demo", run=sized(2, init_indices=[0, 1]))
    run()
    with pytest.raises(ValueError, match=r"init_indices: \[0, 1\] != None"):
        of_size(run, 3, init_indices=None)()


def test_an_arm_grows_beside_its_grown_baseline(small: ToyRun, tmp_path: Path) -> None:
    """First the baseline, then the arm that shares it: only the first pairs of a task are ever timed again."""
    settings = RunnerSettings(cache="paper", shared_baseline=small.run_dir)
    arm = ToyRun(tmp_path / "paper", episodes_per_task=2, run=sized(2, "paper", "paper"), settings=settings)
    assert arm().num_reused == 2
    of_size(small, 4)()
    outcome = of_size(arm, 4)()
    assert (outcome.num_found, outcome.num_reused, outcome.num_run) == (8, 4, 4)
    own = {(r.task_id, r.init_index) for r in rows(arm) if r.arm == "baseline" and r.reused_from is None}
    assert own == {(0, 0), (1, 0)}


def test_a_larger_arm_rolls_out_the_baselines_that_its_source_lacks(small: ToyRun, tmp_path: Path) -> None:
    settings = RunnerSettings(cache="paper", shared_baseline=small.run_dir)
    arm = ToyRun(tmp_path / "paper", episodes_per_task=3, run=sized(3, "paper", "paper"), settings=settings)
    outcome = arm()
    assert (outcome.num_reused, outcome.num_missing) == (2, 0)


def test_a_half_grown_run_is_readable_and_goes_on(small: ToyRun) -> None:
    """Cut off in the middle of its growth: the report counts whole pairs, and the same command goes on."""

    class Cut(Observer):
        def on_episode_end(self, episode, record, steps) -> None:
            if len(rows(small)) == 11:
                raise KeyboardInterrupt

    large = of_size(small, 5)
    with pytest.raises(KeyboardInterrupt):
        replace(large, observers=[Cut()])()
    counts = count_outcomes(pair_episodes(load_run(small.run_dir).episodes))
    assert 5 <= counts.total < 10
    assert write_report(small.run_dir)["num_episodes"] == counts.total
    assert large().num_missing == 0
    assert count_outcomes(pair_episodes(load_run(small.run_dir).episodes)).total == 10


def test_a_record_from_before_runs_could_grow_is_read_and_grown(small: ToyRun) -> None:
    path = small.run_dir / "run.json"
    data = json.loads(path.read_text())
    del data["grown"]
    write_text_atomic(path, json.dumps(data))
    assert small().num_run == 0
    assert "grown" not in json.loads(path.read_text()), "reading changes no record"
    assert of_size(small, 3)().num_run == 4
    assert len(read_run(small.run_dir).grown) == 1


@pytest.mark.parametrize(
    ("stored", "asked", "larger"), [(3, None, True), (None, None, False), (None, 3, False), (3, 4, True), (4, 3, False)]
)
def test_all_states_are_more_than_any_number(stored: int | None, asked: int | None, larger: bool) -> None:
    assert is_larger(sized(stored), sized(asked)) is larger
