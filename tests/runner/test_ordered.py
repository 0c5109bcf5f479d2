"""``suite.reseed=task``: episodes that depend on those before them, as in the official scripts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from runners.envs.toy import FaultyEnv, ToyEnv, make_toy_env
from runners.journal import EPISODES_FILE
from runners.records import EpisodeRecord
from runners.suite import RunnerSettings
from tests.runner.helpers import ChunkPolicy, ToyRun, make_run, outcome_of, rows


class DriftingEnv(ToyEnv):
    """Each reset is seeded by how many there were before, as one RNG per task env behaves in the official scripts."""

    num_resets = 0

    def reset(self, *, init_index: int, seed: int):
        self.num_resets += 1
        return super().reset(init_index=init_index, seed=seed + self.num_resets)


def make_drifting_env(task_id: int) -> DriftingEnv:
    return DriftingEnv(make_toy_env(task_id).spec, 32)


@pytest.fixture
def ordered(tmp_path: Path) -> ToyRun:
    return ToyRun(
        tmp_path / "ordered",
        episodes_per_task=3,
        make_env=make_drifting_env,
        settings=RunnerSettings(cache="adaptive", reseed="task"),
    )


def final(records: Sequence[EpisodeRecord]) -> dict[object, tuple[object, ...]]:
    return {r.key: outcome_of(r) for r in records}


def test_ordered_task_that_was_cut_off_starts_over(ordered: ToyRun, tmp_path: Path) -> None:
    whole = replace(ordered, run_dir=tmp_path / "whole")
    whole()
    assert {r.reseed for r in rows(whole)} == {"task"}

    ordered()
    path = ordered.run_dir / EPISODES_FILE
    prefix = b"".join(path.read_bytes().splitlines(keepends=True)[:9])  # cut inside the second task
    path.write_bytes(prefix)
    assert ordered().num_run == 6, "all of the second task, nothing of the first"
    assert path.read_bytes().startswith(prefix)
    assert final(rows(ordered)) == final(rows(whole))
    attempts = {(r.task_id, r.init_index, r.arm): r.attempt for r in rows(ordered)}
    assert [attempts[0, i, a] for i in range(3) for a in ("baseline", "policy")] == [1] * 6
    assert attempts[1, 0, "baseline"] == 2
    assert ordered().num_run == 0


def test_ordered_arms_have_their_own_env_and_see_the_same_sequence(ordered: ToyRun) -> None:
    ordered.baseline, ordered.policy = ChunkPolicy(), ChunkPolicy()
    ordered()
    steps = {arm: [outcome_of(r)[1:] for r in rows(ordered) if r.arm == arm] for arm in ("baseline", "policy")}
    assert steps["baseline"] == steps["policy"]


def make_env_with_fault_in_first_task(task_id: int):
    env = make_drifting_env(task_id)
    return FaultyEnv(env, 2) if task_id == 0 else env


def test_ordered_task_ends_at_an_error_and_starts_over(ordered: ToyRun, caplog: pytest.LogCaptureFixture) -> None:
    ordered.make_env = make_env_with_fault_in_first_task
    with caplog.at_level(logging.WARNING):
        outcome = ordered()
    assert "task 0 ends here" in caplog.text
    assert outcome.num_missing == 6
    ordered.make_env = make_drifting_env
    assert ordered().num_run == 6
    assert {r.status for r in {r.key: r for r in rows(ordered)}.values()} <= {"success", "failure"}


def test_ordered_baseline_is_shared_task_by_task(ordered: ToyRun, tmp_path: Path) -> None:
    ordered()
    settings = RunnerSettings(cache="paper", reseed="task", shared_baseline=ordered.run_dir)
    second = replace(ordered, run_dir=tmp_path / "b", run=make_run("b", "paper"), settings=settings)
    assert second().num_reused == 4
    ours = {k: v for k, v in final(rows(second)).items() if k.arm == "baseline"}
    assert ours == {k: v for k, v in final(rows(ordered)).items() if k.arm == "baseline"}
