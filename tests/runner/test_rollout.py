"""The step loop: what it asks of the env and the policy, and what reaches the record."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from runners.envs.base import Env, TimeStep
from runners.envs.toy import FaultyEnv, make_toy_env
from runners.experts import build_expert
from runners.experts.toy import ToyExpert
from runners.observers import EpisodeInfo, Observer
from runners.plan import policy_seed
from runners.records import EpisodeKey
from runners.rollout import check_compatible, rollout_episode
from tests.runner.helpers import ChunkPolicy
from vlacache.types import ActionChunk, Observation


class CountingEnv:
    """Any env; remembers the cameras of every ``observe`` and the arguments of every ``reset``."""

    def __init__(self, env: Env) -> None:
        self.spec = env.spec
        self._env = env
        self.rendered: list[tuple[str, ...]] = []
        self.resets: list[tuple[int, int]] = []

    def reset(self, *, init_index: int, seed: int) -> TimeStep:
        self.resets.append((init_index, seed))
        return self._env.reset(init_index=init_index, seed=seed)

    def step(self, action: np.ndarray) -> TimeStep:
        return self._env.step(action)

    def observe(self, cameras: Sequence[str] = ()) -> Observation:
        self.rendered.append(tuple(cameras))
        return self._env.observe(cameras)

    def privileged(self) -> object:
        return self._env.privileged()

    def close(self) -> None:
        self._env.close()


class WristCamera(Observer):
    """Asks for one camera at every step."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, np.ndarray]] = []

    def cameras(self, episode: EpisodeInfo) -> Sequence[str]:
        return ("wrist",)

    def on_frame(self, episode, step, images) -> None:
        assert list(images) == ["wrist"]
        self.frames.append((step, images["wrist"]))


def info(env: Env, *, init_index: int = 3, seed: int = 0) -> EpisodeInfo:
    key = EpisodeKey("policy", "adaptive", "toy", env.spec.task_id, init_index, seed, "official")
    return EpisodeInfo("demo", key, env.spec)


def test_record_of_an_episode_that_succeeds() -> None:
    env = make_toy_env(1)
    result = rollout_episode(env, build_expert("toy"), info(env))
    record = result.record
    assert record.status == "success"
    assert record.error is None
    assert record.first_success_step == record.num_steps == len(result.steps)
    assert record.num_policy_calls == record.num_steps
    assert [s.step for s in result.steps] == list(range(record.num_steps))
    assert [s.success for s in result.steps] == [False] * (record.num_steps - 1) + [True]
    assert record.instruction == env.spec.instruction
    assert record.assets == {"source": "none", "digest": "0" * 16, "render": "fast", "detail": "toy"}
    assert record.run_id == "demo"
    assert record.wall_s >= record.sim_s + record.model_s > 0
    assert all(s.proprio is not None and len(s.proprio) == 8 for s in result.steps)


def test_chunks_are_executed_open_loop_in_order() -> None:
    env = make_toy_env(max_steps=10)
    policy = ChunkPolicy()
    result = rollout_episode(env, policy, info(env))
    assert result.record.status == "failure"
    assert result.record.num_policy_calls == 3
    assert [s.call_index for s in result.steps] == [0] * 4 + [1] * 4 + [2] * 2
    assert [s.call is not None for s in result.steps] == [True, False, False, False] * 2 + [True, False]
    assert [o.step for o in policy.seen] == [0, 4, 8]
    again = ChunkPolicy()
    again.reset(policy_seed(result.record.key))
    expected = np.concatenate([again.infer(o).actions for o in policy.seen])[:10]
    np.testing.assert_array_equal(np.array([s.action for s in result.steps], np.float32), expected)


def test_trace_columns_hold_the_bytes_of_the_trace() -> None:
    env = make_toy_env(max_steps=8)
    result = rollout_episode(env, ChunkPolicy(reuse=0.5), info(env))
    assert result.trace_layout == (("agentview", "wrist"), (4, 4), 6)
    assert result.steps[4].reused_layers == bytes([6] * 16 + [0] * 16)
    assert result.steps[4].static == bytes([1] * 16 + [0] * 16)
    assert result.steps[5].reused_layers is None


def test_only_what_the_policy_asks_for_is_rendered() -> None:
    env = CountingEnv(make_toy_env(max_steps=8))
    rollout_episode(env, ChunkPolicy(), info(env))
    assert [c for c in env.rendered if c] == [("agentview", "wrist")] * 2
    env = CountingEnv(make_toy_env(max_steps=8))
    rollout_episode(env, build_expert("toy"), info(env))
    assert not any(env.rendered)


def test_frames_for_an_observer_are_not_rendered_twice() -> None:
    env = CountingEnv(make_toy_env(max_steps=8))
    camera = WristCamera()
    rollout_episode(env, ChunkPolicy(), info(env), camera)
    assert [step for step, _ in camera.frames] == list(range(9)), "one frame before each step and the last state"
    wrist = sum("wrist" in cameras for cameras in env.rendered)
    assert wrist == 9
    assert sum("agentview" in cameras for cameras in env.rendered) == 2


@pytest.mark.parametrize("seed", [0, 5])
def test_seed_reaches_env_and_policy(seed: int) -> None:
    env = CountingEnv(make_toy_env(max_steps=4))
    policy = ChunkPolicy()
    record = rollout_episode(env, policy, info(env, init_index=3, seed=seed)).record
    assert env.resets == [(3, seed)]
    assert policy.seeds == [policy_seed(record.key)]
    assert record.env_seed == seed


def test_policy_seed_differs_between_episodes_but_not_between_arms() -> None:
    key = EpisodeKey("policy", "adaptive", "toy", 0, 0, 0, "official")
    keys = [key, replace(key, env_seed=1), replace(key, init_index=1), replace(key, task_id=1)]
    assert len({policy_seed(k) for k in keys}) == 4
    assert policy_seed(replace(key, arm="baseline", cache="none")) == policy_seed(key)


def test_exception_becomes_an_error_with_traceback_and_keeps_the_steps() -> None:
    env = FaultyEnv(make_toy_env(), raise_at_step=5)
    result = rollout_episode(env, ChunkPolicy(), info(env))
    assert result.record.status == "error"
    assert "Traceback" in result.record.error
    assert "RuntimeError: injected fault at step 5" in result.record.error
    assert len(result.steps) == result.record.num_steps == 5
    assert result.record.num_policy_calls == 2


class BadPolicy(ChunkPolicy):
    """Returns ``actions`` whatever it sees."""

    actions: np.ndarray

    def infer(self, observation: Observation) -> ActionChunk:
        return replace(super().infer(observation), actions=self.actions)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.full((4, 7), math.nan, np.float32), "expected finite numbers"),
        (np.zeros((4, 6), np.float32), r"expected shape \(7,\), got \(6,\)"),
        (np.zeros((3, 7), np.float32), "num_open_loop_steps=4 but policy chunks returned 3 actions"),
        (np.zeros((0, 7), np.float32), "returned 0 actions"),
    ],
)
def test_malformed_actions_are_an_error_before_they_reach_the_simulator(actions: np.ndarray, message: str) -> None:
    env = make_toy_env()
    policy = BadPolicy()
    policy.actions = actions
    record = rollout_episode(env, policy, info(env)).record
    assert record.status == "error"
    assert record.num_steps == 0
    assert re.search(message, record.error)


@pytest.mark.parametrize(("rule", "status"), [("final_step", "failure"), ("any_step", "success"), ("first", "success")])
def test_success_rule_decides_what_a_passing_success_counts(rule: str, status: str) -> None:
    """The gripper seizes the square, then lets go and leaves: a success only where the first one counts."""
    env = make_toy_env(max_steps=40, success_rule=rule)

    class Fickle(ToyExpert):
        satisfied = False

        def infer(self, observation: Observation) -> ActionChunk:
            chunk = super().infer(observation)
            self.satisfied = self.satisfied or self.env.privileged().success
            leave = np.array([[1, 1, 0, 0, 0, 0, -1]], np.float32)
            return replace(chunk, actions=leave) if self.satisfied else chunk

    record = rollout_episode(env, Fickle(), info(env)).record
    assert record.status == status
    assert record.first_success_step is not None
    assert record.num_steps == (record.first_success_step if rule == "first" else 40)


def test_env_that_never_ends_is_an_error() -> None:
    class Endless(CountingEnv):
        def step(self, action: np.ndarray) -> TimeStep:
            now = super().step(action)
            return replace(now, done=False)

    env = Endless(make_toy_env(max_steps=5))
    record = rollout_episode(env, ChunkPolicy(), info(env)).record
    assert record.status == "error"
    assert "expected done at step 5" in record.error


def test_mismatch_of_actions_or_cameras_is_refused() -> None:
    env = make_toy_env()
    check_compatible(env, ChunkPolicy())
    spec = replace(ChunkPolicy().action_spec, gripper="plus_one_opens")
    with pytest.raises(ValueError, match=r"gripper: 'plus_one_closes' != 'plus_one_opens'"):
        check_compatible(env, ChunkPolicy(action_spec=spec))
    with pytest.raises(ValueError, match=r"needs cameras \['overhead'\]"):
        check_compatible(env, ChunkPolicy(cameras=("overhead",)))
