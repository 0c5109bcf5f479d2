"""Validation episodes of a training run, on the toy suite."""

from __future__ import annotations

import numpy as np
import pytest

from runners.closed_loop import VALIDATION_SEED, ClosedLoop, TrainingStarts
from runners.envs.toy import make_toy_env
from runners.experts.toy import ToyExpert
from vlacache.types import LIBERO_ACTION_SPEC, ActionChunk, InferenceStats


class Idle:
    """Never moves; fails with an exception in the given episode."""

    name, weights, cameras, num_open_loop_steps, action_spec = "idle", "none", (), 1, LIBERO_ACTION_SPEC

    def __init__(self, broken: int | None = None) -> None:
        self.broken, self.episodes = broken, 0

    def reset(self, seed: int) -> None:
        self.episodes += 1

    def infer(self, observation) -> ActionChunk:
        if self.episodes == self.broken:
            raise ZeroDivisionError("policy broke")
        return ActionChunk(np.zeros((1, 7), np.float32), InferenceStats())


def loop(**changes) -> ClosedLoop:
    values = {"suite": "toy", "placements": {"official": make_toy_env}, "task_ids": [0, 2], "init_indices": [3, 4]}
    return ClosedLoop(**{**values, **changes})


def test_the_expert_succeeds_and_idling_does_not() -> None:
    result = loop().evaluate(ToyExpert())
    assert result["success"] == 1.0 and result["episodes"] == 4
    assert result["tasks/official"] == {"0": 2, "2": 2}
    policy = Idle()
    assert loop().evaluate(policy)["success"] == 0.0 and policy.episodes == 4


def test_success_is_the_mean_over_placements() -> None:
    short = {"official": make_toy_env, "short": lambda task: make_toy_env(task, max_steps=1)}
    result = loop(placements=short).evaluate(ToyExpert())
    assert (result["success"], result["success/official"], result["success/short"]) == (0.5, 1.0, 0.0)


def test_an_error_is_no_failure() -> None:
    with pytest.raises(RuntimeError, match=r"task 0, state 4 failed(.|\n)*policy broke"):
        loop().evaluate(Idle(broken=2))


def test_a_state_that_the_task_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="initial states 0"):
        loop(init_indices=[10_000]).evaluate(ToyExpert())


def test_validation_begins_at_training_starts_and_never_at_an_evaluated_state() -> None:
    """Every episode goes through ``reset_training``, with the seed that no demonstration has."""
    begun = []

    class Env:
        def __init__(self, task_id: int) -> None:
            self.env = make_toy_env(task_id)
            self.spec = self.env.spec

        def __getattr__(self, name: str):
            assert name != "reset", "an evaluated state"
            return getattr(self.env, name)

        def reset_training(self, *, index: int, seed: int, other_fixtures: bool):
            begun.append((self.spec.task_id, index, seed, other_fixtures))
            return self.env.reset(init_index=index, seed=seed)

    placements = {"official": lambda task_id: TrainingStarts(Env(task_id), 2)}
    result = loop(placements=placements, init_indices=range(2), seed=VALIDATION_SEED).evaluate(ToyExpert())
    assert result["tasks/official"] == {"0": 2, "2": 2}
    assert begun == [(task, index, VALIDATION_SEED, True) for task in (0, 2) for index in (0, 1)]
    with pytest.raises(ValueError, match="initial states 0"):
        loop(placements=placements, init_indices=range(3)).evaluate(ToyExpert())
