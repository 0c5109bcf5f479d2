"""The toy env: contract, determinism by key, its expert, fault injection."""

from __future__ import annotations

import numpy as np
import pytest

from runners.envs import toy
from runners.envs.base import Env, PrivilegedPolicy
from runners.envs.toy import FaultyEnv, make_toy_env
from runners.experts import build_expert
from tests.conformance import EnvConformance, play, random_actions


class TestToyConformance(EnvConformance):
    """The contract, on the toy env."""

    @classmethod
    def make_env(cls, max_steps: int | None = None) -> Env:
        return make_toy_env() if max_steps is None else make_toy_env(max_steps=max_steps)

    @pytest.fixture
    def renders(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        log: list[str] = []
        draw = toy.ToyEnv._draw

        def counted(self: toy.ToyEnv, camera: str, state: toy.ToyState) -> object:
            log.append(camera)
            return draw(self, camera, state)

        monkeypatch.setattr(toy.ToyEnv, "_draw", counted)
        return log


@pytest.mark.parametrize("task_id", [0, 1, 2])
def test_expert_solves_every_state(task_id: int) -> None:
    env = make_toy_env(task_id)
    expert = build_expert("toy")
    assert isinstance(expert, PrivilegedPolicy)
    for init_index in range(env.spec.num_init_states):
        expert.attach(env)
        time_step = env.reset(init_index=init_index, seed=0)
        expert.reset(0)
        while not time_step.done:
            time_step = env.step(expert.infer(env.observe(expert.cameras)).actions[0])
        assert time_step.success


def test_doing_nothing_never_succeeds() -> None:
    env = make_toy_env(max_steps=5)
    env.reset(init_index=0, seed=0)
    assert not any(env.step(np.zeros(7)).success for _ in range(5))


def test_seed_moves_the_start() -> None:
    env = make_toy_env()
    starts = [play(env, random_actions(env, 0), seed=seed)[0] for seed in (0, 1)]
    assert (starts[0] != starts[1]).any()


def test_background_is_static() -> None:
    """Most of the agentview must not change between steps: that is what a cache lives on."""
    env = make_toy_env()
    env.reset(init_index=0, seed=0)
    before = env.observe(["agentview"]).images["agentview"]
    env.step(np.array([1, 0, 0, 0, 0, 0, -1.0]))
    after = env.observe(["agentview"]).images["agentview"]
    changed = (before != after).any(axis=-1).mean()
    assert 0 < changed < 0.05


def test_success_is_reported_but_does_not_end_the_episode_under_final_step() -> None:
    env = make_toy_env(max_steps=40, success_rule="final_step")
    expert = build_expert("toy")
    expert.attach(env)
    env.reset(init_index=0, seed=0)
    steps = [env.step(expert.infer(env.observe()).actions[0]) for _ in range(40)]
    assert [step.done for step in steps] == [False] * 39 + [True]
    assert steps[-1].success
    assert sum(step.success for step in steps) > 1


def test_injected_fault_raises_at_its_step_only() -> None:
    env = FaultyEnv(make_toy_env(), raise_at_step=2, num_faults=1)
    assert isinstance(env, Env)
    actions = random_actions(env, 4)
    env.reset(init_index=0, seed=0)
    env.step(actions[0])
    env.step(actions[1])
    with pytest.raises(RuntimeError, match="injected fault at step 2"):
        env.step(actions[2])
    env.reset(init_index=0, seed=0)
    assert [env.step(action).step for action in actions] == [1, 2, 3, 4]


@pytest.mark.parametrize("bad", [{"task_id": 3}, {"task_id": -1}, {"max_steps": 0}, {"image_size": 0}])
def test_bad_arguments_raise(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"task_id|max_steps"):
        make_toy_env(**bad)


def test_expert_needs_an_env() -> None:
    env = make_toy_env()
    env.reset(init_index=0, seed=0)
    with pytest.raises(RuntimeError, match="attach"):
        build_expert("toy").infer(env.observe())


def test_suite_without_expert_raises() -> None:
    with pytest.raises(ValueError, match=r"no expert for suite 'libero_10'.*libero_spatial, .*toy"):
        build_expert("libero_10")
