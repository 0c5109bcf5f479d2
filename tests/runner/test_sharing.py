"""Sweeps: finished baselines are copied in, latencies are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runners.experts import build_expert
from runners.journal import EPISODES_FILE
from runners.suite import RunnerSettings
from tests.runner.helpers import ToyRun, make_run, outcome_of, rows


@pytest.fixture
def sweep(tmp_path: Path) -> tuple[ToyRun, ToyRun]:
    """A finished run, and one of another cache policy that may share its baseline."""
    first = ToyRun(tmp_path / "a", episodes_per_task=3, run=make_run("a"))
    first()
    settings = RunnerSettings(cache="paper", shared_baseline=first.run_dir)
    return first, ToyRun(tmp_path / "b", episodes_per_task=3, run=make_run("b", "paper"), settings=settings)


def test_finished_baseline_is_copied_but_some_pairs_are_timed_again(sweep: tuple[ToyRun, ToyRun]) -> None:
    first, second = sweep
    outcome = second()
    baseline = [r for r in rows(second) if r.arm == "baseline"]
    assert {(r.task_id, r.init_index): r.reused_from for r in baseline} == {
        (0, 0): None,
        (0, 1): "a",
        (0, 2): "a",
        (1, 0): None,
        (1, 1): "a",
        (1, 2): "a",
    }
    assert (outcome.num_reused, outcome.num_run, outcome.num_missing) == (4, 8, 0)
    assert {outcome_of(r) for r in baseline} == {outcome_of(r) for r in rows(first) if r.arm == "baseline"}
    assert {r.run_id for r in baseline} == {"b"}
    copied = next(r for r in baseline if r.reused_from)
    name = f"steps/{copied.key.slug}.parquet"
    assert (second.run_dir / name).read_bytes() == (first.run_dir / name).read_bytes()
    assert {r.differs_from for r in baseline} == {None}
    live = [(r.task_id, r.init_index, r.arm) for r in rows(second) if r.reused_from is None]
    assert live[:2] == [(0, 0, "baseline"), (0, 0, "policy")], "the timed pair is interleaved"
    assert second().num_run == 0


def test_copy_of_a_copy_names_the_run_that_rolled_it_out(sweep: tuple[ToyRun, ToyRun], tmp_path: Path) -> None:
    _, second = sweep
    second()
    third = replace(second, run_dir=tmp_path / "c", run=make_run("c", "official"))
    third.settings = RunnerSettings(cache="official", shared_baseline=second.run_dir)
    third()
    assert {r.reused_from for r in rows(third)} == {None, "a"}


def test_at_least_two_pairs_are_timed_again(tmp_path: Path) -> None:
    first = ToyRun(tmp_path / "a", task_ids=[0], episodes_per_task=4, run=make_run("a"))
    first()
    settings = RunnerSettings(cache="paper", shared_baseline=first.run_dir)
    second = replace(first, run_dir=tmp_path / "b", run=make_run("b", "paper"), settings=settings)
    assert second().num_reused == 2


def test_errors_and_missing_baselines_are_rolled_out(sweep: tuple[ToyRun, ToyRun]) -> None:
    first, second = sweep
    path = first.run_dir / EPISODES_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not (b'"baseline"' in line and b'"task_id": 1' in line)]
    path.write_bytes(b"".join(kept))
    assert second().num_reused == 2


def test_baseline_that_ends_otherwise_here_is_reported(
    sweep: tuple[ToyRun, ToyRun], caplog: pytest.LogCaptureFixture
) -> None:
    _, second = sweep

    class Slow(type(build_expert("toy"))):
        """Wastes its first step: as a baseline that is not deterministic would, it ends otherwise."""

        def infer(self, observation):
            chunk = super().infer(observation)
            return replace(chunk, actions=np.zeros_like(chunk.actions)) if observation.step == 0 else chunk

    second.baseline = Slow()
    second()
    live = [r for r in rows(second) if r.arm == "baseline" and r.reused_from is None]
    assert [r.differs_from for r in live] == ["a", "a"]
    assert "the baseline is not deterministic" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [({"seed": 1}, "seed: 0 != 1"), ({"model": {"name": "other"}}, "model.name: 'chunks' != 'other'")],
)
def test_other_baseline_is_refused_by_key(
    sweep: tuple[ToyRun, ToyRun], change: dict[str, object], message: str
) -> None:
    _, second = sweep
    second.run = make_run("b", "paper", **change)
    with pytest.raises(ValueError, match=message):
        second()


def test_baseline_of_another_machine_is_refused(sweep: tuple[ToyRun, ToyRun]) -> None:
    _, second = sweep
    second.run = replace(second.run, versions={"machine": "another"})
    with pytest.raises(ValueError, match=r"versions\.machine"):
        second()
