"""``placement=wide`` and training episodes in the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import mujoco
import numpy as np
import pytest

from runners.assets import ResolvedAssets, resolve_assets
from runners.envs.libero import LiberoEnv, make_libero_env
from runners.envs.wide.draft import CABINET, STOVE
from runners.envs.wide.layout import Stream, sample_wide_layout
from runners.experts import build_expert
from tests.conformance import assert_same_trace, play, random_actions

pytestmark = pytest.mark.sim

FIXTURES = (CABINET, STOVE)


def full_state(env: Any) -> np.ndarray:
    state = env.privileged()
    fixtures = [state.root_bodies[name] for name in FIXTURES]
    poses = (state.model.body_pos[fixtures].ravel(), state.model.body_quat[fixtures].ravel())
    return np.concatenate([state.data.qpos, state.data.qvel, *poses])


@pytest.fixture(scope="module")
def env(builtin_assets: ResolvedAssets) -> Iterator[LiberoEnv]:
    with closing(make_libero_env("libero_spatial", 4, assets=builtin_assets, placement="wide")) as env:
        yield env


def test_spec(env: LiberoEnv) -> None:
    assert (env.spec.placement, env.spec.num_init_states) == ("wide", 1000)


def test_same_key_same_episode_whatever_ran_before(env: LiberoEnv, builtin_assets: ResolvedAssets) -> None:
    actions = random_actions(env, 4)
    expected = play(env, actions, init_index=3, seed=1, read=full_state)
    play(env, actions, init_index=7, seed=2)
    env.reset_training(index=1, seed=0)
    assert_same_trace(expected, play(env, actions, init_index=3, seed=1, read=full_state))
    with closing(make_libero_env("libero_spatial", 4, assets=builtin_assets, placement="wide")) as fresh:
        assert_same_trace(expected, play(fresh, actions, init_index=3, seed=1, read=full_state))


def test_training_leaves_official_episodes_as_they_are(builtin_assets: ResolvedAssets) -> None:
    """Soft resets stay equal to a fresh env's, bit by bit, also after fixtures were moved and noise was drawn."""
    with closing(make_libero_env("libero_spatial", 4, assets=builtin_assets)) as env:
        actions = random_actions(env, 4)
        expected = play(env, actions, init_index=2, seed=0, read=full_state)
        env.reset_training(index=5, seed=3)
        env.step(actions[0])
        assert_same_trace(expected, play(env, actions, init_index=2, seed=0, read=full_state))


def test_fixtures_of_another_draw(builtin_assets: ResolvedAssets) -> None:
    """Objects, drawer and arm start as without it; cabinet and stove stand elsewhere, as often as it is asked."""
    with closing(make_libero_env("libero_spatial", 4, assets=builtin_assets)) as env:
        starts = {}
        for other in (False, True, False, True):
            env.reset_training(index=2, seed=5, other_fixtures=other)
            assert env._start_state is not None
            state = env.privileged()
            fixtures = np.array([state.model.body_pos[state.root_bodies[name]] for name in FIXTURES])
            if other in starts:
                assert np.array_equal(starts[other][0], env._start_state) and np.array_equal(starts[other][1], fixtures)
            starts[other] = env._start_state.copy(), fixtures
        assert np.array_equal(starts[False][0], starts[True][0])
        moved = np.abs(starts[False][1] - starts[True][1])[:, :2].max(axis=1)
        assert (moved > 1e-3).all() and (moved < 0.05).all()


def test_a_wide_layout_holds_its_fixtures(env: LiberoEnv) -> None:
    with pytest.raises(ValueError, match="other_fixtures: expected placement official, got wide"):
        env.reset_training(index=0, seed=0, other_fixtures=True)


@pytest.mark.parametrize("task_id", range(10))
def test_things_stay_where_they_are_put_and_the_expert_solves_it(builtin_assets: ResolvedAssets, task_id: int) -> None:
    """After settling: fixtures as drawn, nothing slid or fell, goal not true; then one solved episode of each task."""
    layout = sample_wide_layout(Stream.EVALUATION, task_id, 1, 0)
    expert = build_expert("libero_spatial")
    with closing(make_libero_env("libero_spatial", task_id, assets=builtin_assets, placement="wide")) as env:
        expert.attach(env)
        now = env.reset(init_index=1, seed=0)
        assert not now.success
        state = env.privileged()
        for name, pose in layout.objects.items():
            place = state.object_pos(name)
            assert np.linalg.norm(place[:2] - pose.position[:2]) < 0.008, name
            assert -0.008 < place[2] - pose.position[2] < 0.002, name
        for name, pose in layout.fixtures.items():
            np.testing.assert_array_equal(state.object_pos(name)[:2], pose.position[:2])
        expert.reset(0)
        while not now.done:
            now = env.step(expert.infer(env.observe()).actions[0])
        assert now.success


def test_wide_is_written_for_spatial_only(builtin_assets: ResolvedAssets) -> None:
    with pytest.raises(ValueError, match="placement=wide: written for libero_spatial"):
        make_libero_env("libero_goal", 0, assets=builtin_assets, placement="wide")


@pytest.mark.parametrize(
    ("suite", "task_id"), [("libero_spatial", 4), ("libero_spatial", 5), ("libero_object", 0), ("libero_goal", 0)]
)
def test_training_starts_are_like_the_official_ones_and_none_of_them(suite: str, task_id: int) -> None:
    """Same distribution, other draws: the init states are held out."""
    assets = resolve_assets("builtin", suite=suite, render="fast")
    with closing(make_libero_env(suite, task_id, assets=assets)) as env:
        starts = []
        for index in range(24):
            env.reset_training(index=index, seed=0)
            starts.append(env._start_state)
        drawn, official = np.stack(starts), env._init_states
        model = env.privileged().model
        free = model.jnt_qposadr[model.jnt_type == mujoco.mjtJoint.mjJNT_FREE]
        objects = (1 + free[:, None] + np.arange(7)).ravel()
        gaps = np.abs(drawn[:, None, objects] - official[None, :, objects]).max(axis=-1)
        assert len(free) >= 4 and gaps.min() > 1e-4, "a training episode starts from an official init state"
        assert len(np.unique(drawn[:, objects], axis=0)) == len(drawn)
        positions = slice(1, 1 + model.nq)
        np.testing.assert_allclose(drawn[:, positions].mean(0), official[:, positions].mean(0), atol=0.015)
        arm = slice(1, 8)
        np.testing.assert_allclose(drawn[:, arm].std(0), official[:, arm].std(0), atol=0.013)


def test_training_needs_independent_episodes(builtin_assets: ResolvedAssets) -> None:
    with (
        closing(make_libero_env("libero_spatial", 0, assets=builtin_assets, reseed="task")) as env,
        pytest.raises(RuntimeError, match='reseed="episode"'),
    ):
        env.reset_training(index=0, seed=0)
