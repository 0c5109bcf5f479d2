"""The env contract as a reusable pytest class; every simulator adapter passes it.

Usage: subclass in a test module, name the subclass ``Test...`` and override ``make_env`` and ``renders``
(and ``read_state``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runners.envs.base import Env, TimeStep

Trace = list[NDArray[Any]]


#: Translations (m), rotations (rad) and gripper commands that are drawn where the spec has no bounds.
UNBOUNDED = np.array([0.02, 0.02, 0.02, 0.1, 0.1, 0.1, 1.0])


def random_actions(env: Env, count: int, seed: int = 0) -> NDArray[np.float64]:
    """Actions float64[count, dim] drawn uniformly from the bounds of the env."""
    spec = env.spec.action_spec
    low, high = (spec.low, spec.high) if np.isfinite(spec.high) else (-UNBOUNDED, UNBOUNDED)
    return np.random.default_rng(seed).uniform(low, high, size=(count, spec.dim))


def play(
    env: Env,
    actions: NDArray[np.float64],
    *,
    init_index: int = 0,
    seed: int = 0,
    frames: bool = True,
    read: Callable[[Env], NDArray[Any]] | None = None,
) -> Trace:
    """Play ``actions`` from a reset; the state after every step and, at the end, one picture of each camera.

    Args:
        read: state of an env as an array; proprio by default.
    """
    read = proprio_of if read is None else read
    env.reset(init_index=init_index, seed=seed)
    trace: Trace = [read(env)]
    for action in actions:
        if env.step(action).done:
            break
        trace.append(read(env))
    if frames:
        images = env.observe(env.spec.cameras).images
        trace += [images[name] for name in env.spec.cameras]
    return trace


def proprio_of(env: Env) -> NDArray[np.float32]:
    """Proprio of the current state, without rendering."""
    proprio = env.observe().proprio
    assert proprio is not None
    return proprio


def assert_same_trace(left: Trace, right: Trace) -> None:
    """Bit-equality of two traces."""
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


class EnvConformance:
    """Contract tests of ``runners.envs.base.Env``."""

    num_actions = 6

    @classmethod
    def make_env(cls, max_steps: int | None = None) -> Env:
        """Build a fresh env, with the suite's ``max_steps`` by default. Override."""
        raise NotImplementedError

    @staticmethod
    def read_state(env: Env) -> NDArray[Any]:
        """The state that determinism is checked on. Override where the simulator has more digits than proprio."""
        return proprio_of(env)

    @pytest.fixture(scope="class")
    @classmethod
    def env(cls) -> Iterator[Env]:
        """One env shared by the tests of the class."""
        env = cls.make_env()
        yield env
        env.close()

    @pytest.fixture
    def renders(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """A list that grows by one entry per rendered picture. Override."""
        raise NotImplementedError

    def test_is_an_env(self, env: Env) -> None:
        assert isinstance(env, Env)

    def test_spec_is_complete(self, env: Env) -> None:
        spec = env.spec
        assert spec.suite
        assert spec.instruction
        assert spec.cameras
        assert spec.control_hz > 0
        assert spec.max_steps > 0
        assert spec.num_init_states > 0
        assert spec.versions, "spec.versions: name at least the simulator's version"
        assert len(spec.assets.digest) >= 8

    def test_step_before_reset_raises(self) -> None:
        with closing(self.make_env()) as new_env, pytest.raises(RuntimeError, match="reset"):
            new_env.step(np.zeros(new_env.spec.action_spec.dim))

    def test_observe_before_reset_raises(self) -> None:
        with closing(self.make_env()) as new_env, pytest.raises(RuntimeError, match="reset"):
            new_env.observe()

    def test_reset_returns_step_zero(self, env: Env) -> None:
        assert env.reset(init_index=0, seed=0) == TimeStep(step=0, success=False, done=False)
        assert env.observe().step == 0

    def test_steps_are_counted(self, env: Env) -> None:
        env.reset(init_index=0, seed=0)
        steps = [env.step(action).step for action in random_actions(env, 3)]
        assert steps == [1, 2, 3]
        assert env.observe().step == 3

    @pytest.mark.parametrize("init_index", [-1, 10**6])
    def test_bad_init_index_raises(self, env: Env, init_index: int) -> None:
        with pytest.raises(ValueError, match="init_index"):
            env.reset(init_index=init_index, seed=0)

    def test_last_init_state_exists(self, env: Env) -> None:
        assert env.reset(init_index=env.spec.num_init_states - 1, seed=0).step == 0

    def test_malformed_action_raises(self, env: Env) -> None:
        env.reset(init_index=0, seed=0)
        dim = env.spec.action_spec.dim
        for bad in (np.zeros(dim - 1), np.zeros((1, dim)), np.full(dim, np.nan), np.full(dim, np.inf)):
            with pytest.raises(ValueError, match="action"):
                env.step(bad)
        assert env.observe().step == 0, "a refused action must not advance the episode"

    def test_out_of_range_action_is_clipped(self, env: Env) -> None:
        """Policies overshoot the bounds now and then; simulators clip, they do not fail. Without bounds, the same."""
        spec = env.spec.action_spec
        env.reset(init_index=0, seed=0)
        if not np.isfinite(spec.high):
            assert env.step(10.0 * UNBOUNDED).step == 1
            assert np.isfinite(proprio_of(env)).all()
            return
        env.step(np.full(spec.dim, 10.0 * spec.high))
        clipped = proprio_of(env)
        env.reset(init_index=0, seed=0)
        env.step(np.full(spec.dim, spec.high))
        np.testing.assert_array_equal(clipped, proprio_of(env))

    def test_float32_action_is_accepted(self, env: Env) -> None:
        env.reset(init_index=0, seed=0)
        assert env.step(np.zeros(env.spec.action_spec.dim, dtype=np.float32)).step == 1

    def test_action_is_not_modified(self, env: Env) -> None:
        env.reset(init_index=0, seed=0)
        action = random_actions(env, 1)[0]
        before = action.copy()
        env.step(action)
        np.testing.assert_array_equal(action, before)

    def test_actions_move_the_robot(self, env: Env) -> None:
        start, *_, end = play(env, random_actions(env, self.num_actions), frames=False)
        assert np.abs(end[:3] - start[:3]).max() > 1e-4

    def test_step_after_done_raises(self) -> None:
        with closing(self.make_env(max_steps=2)) as short_env:
            short_env.reset(init_index=0, seed=0)
            done = [short_env.step(action).done for action in random_actions(short_env, 2)]
            assert done == [False, True]
            with pytest.raises(RuntimeError, match="reset"):
                short_env.step(random_actions(short_env, 1)[0])
            assert not short_env.reset(init_index=0, seed=0).done

    def test_frames_are_upright_uint8_pictures(self, env: Env) -> None:
        env.reset(init_index=0, seed=0)
        images = env.observe(env.spec.cameras).images
        assert tuple(images) == env.spec.cameras
        for image in images.values():
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert image.shape[2] == 3
            assert image.flags["C_CONTIGUOUS"]
            assert image.flags["OWNDATA"]
            assert image.std() > 5, "a picture of one colour: nothing was drawn"

    def test_frames_are_copies(self, env: Env) -> None:
        env.reset(init_index=0, seed=0)
        camera = env.spec.cameras[0]
        first = env.observe([camera]).images[camera]
        kept = first.copy()
        for action in random_actions(env, self.num_actions):
            env.step(action)
        second = env.observe([camera]).images[camera]
        np.testing.assert_array_equal(first, kept)
        assert (first != second).any(), "the robot moved, so must the picture"

    def test_observing_does_not_change_the_state(self, env: Env) -> None:
        actions = random_actions(env, self.num_actions)
        quiet = play(env, actions, frames=False, read=self.read_state)
        env.reset(init_index=0, seed=0)
        watched: Trace = [self.read_state(env)]
        for action in actions:
            env.observe(env.spec.cameras)
            env.step(action)
            watched.append(self.read_state(env))
        assert_same_trace(quiet, watched)

    def test_nothing_is_rendered_unless_named(self, env: Env, renders: list[str]) -> None:
        play(env, random_actions(env, self.num_actions), frames=False)
        assert renders == []
        env.observe([env.spec.cameras[-1]])
        assert len(renders) == 1

    def test_unknown_camera_raises(self, env: Env) -> None:
        env.reset(init_index=0, seed=0)
        with pytest.raises(ValueError, match="no_such_camera"):
            env.observe(["no_such_camera"])

    def test_observation_contents(self, env: Env) -> None:
        env.reset(init_index=0, seed=0)
        observation = env.observe()
        assert observation.images == {}
        assert observation.instruction == env.spec.instruction
        assert observation.proprio is not None
        assert observation.proprio.dtype == np.float32
        assert np.isfinite(observation.proprio).all()

    def test_privileged_state_exists(self, env: Env) -> None:
        env.reset(init_index=0, seed=0)
        assert env.privileged() is not None

    def test_same_key_same_episode_whatever_ran_before(self, env: Env) -> None:
        actions = random_actions(env, self.num_actions)
        expected = play(env, actions, init_index=0, seed=3, read=self.read_state)
        play(env, random_actions(env, self.num_actions + 3, seed=9), init_index=1, seed=11)
        np.random.default_rng().random(5)
        np.random.seed(None)  # noqa: NPY002 - simulators draw from the global generator; it must not matter
        again = play(env, actions, init_index=0, seed=3, read=self.read_state)
        assert_same_trace(expected, again)

    def test_same_key_same_episode_in_a_fresh_env(self, env: Env) -> None:
        actions = random_actions(env, self.num_actions)
        expected = play(env, actions, init_index=1, seed=5, read=self.read_state)
        with closing(self.make_env()) as new_env:
            assert_same_trace(expected, play(new_env, actions, init_index=1, seed=5, read=self.read_state))

    def test_init_index_changes_the_episode(self, env: Env) -> None:
        camera = env.spec.cameras[0]
        pictures = []
        for init_index in (0, 1):
            env.reset(init_index=init_index, seed=0)
            pictures.append(env.observe([camera]).images[camera])
        assert (pictures[0] != pictures[1]).any()
