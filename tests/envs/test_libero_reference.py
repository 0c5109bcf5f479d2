"""The adapter against LIBERO's own environment, driven as the published scripts drive it: equal bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runners.assets import ResolvedAssets, resolve_assets
from runners.envs.libero import LiberoEnv, make_libero_env
from runners.envs.libero_runtime import prepare
from runners.envs.libero_stepper import LeanStepper
from runners.envs.libero_tasks import LiberoTask, load_task

pytestmark = pytest.mark.sim

WAIT = [0, 0, 0, 0, 0, 0, -1]
NUM_ACTIONS = 4


@pytest.fixture(scope="module")
def reference_assets() -> ResolvedAssets:
    assets = resolve_assets("builtin", suite="libero_spatial", render="reference")
    prepare(assets.root)
    return assets


def official_episodes(
    task: LiberoTask, actions: NDArray[np.float64], num_episodes: int, seed: int
) -> list[tuple[dict[str, Any], NDArray[np.float64]]]:
    """Observation and qpos at every step of the first episodes of ``OffScreenRenderEnv``, which is seeded once."""
    from libero.libero.envs import OffScreenRenderEnv

    env = OffScreenRenderEnv(bddl_file_name=str(task.bddl_file), camera_heights=256, camera_widths=256)
    env.seed(seed)
    rows = []
    for init_index in range(num_episodes):
        env.reset()
        env.set_init_state(task.init_states[init_index])
        for _ in range(10):
            observation, *_ = env.step(WAIT)
        for action in actions:
            rows.append((observation, env.sim.data.qpos.copy()))
            observation, *_ = env.step(action)
    env.close()
    return rows


def official_proprio(observation: dict[str, Any]) -> NDArray[np.float32]:
    """The state vector of the OFT script, with robosuite's own axis-angle."""
    from robosuite.utils.transform_utils import quat2axisangle

    parts = (
        observation["robot0_eef_pos"],
        quat2axisangle(observation["robot0_eef_quat"].copy()),
        observation["robot0_gripper_qpos"],
    )
    return np.concatenate(parts).astype(np.float32)


def test_episodes_equal_the_official_environment(reference_assets: ResolvedAssets) -> None:
    """State, proprio and both pictures, in the task with a drawer.

    Two episodes with ``reseed="task"``, then the first one with ``reseed="episode"`` in the same, now used, env.
    """
    task = load_task("libero_spatial", 4)
    actions = np.random.default_rng(0).uniform(-1, 1, size=(NUM_ACTIONS, 7))
    # All of it before our first picture: robosuite takes for granted that it alone uses OpenGL.
    expected = official_episodes(task, actions, num_episodes=2, seed=5)
    by_task, by_episode = (
        make_libero_env("libero_spatial", 4, assets=reference_assets, render="reference", reseed=reseed)
        for reseed in ("task", "episode")
    )
    with closing(by_task), closing(by_episode):
        rows = iter(expected)
        for init_index in range(2):
            assert_same_episode(by_task, init_index, 5, actions, rows)
        by_episode.reset(init_index=7, seed=1)
        by_episode.step(actions[0])
        assert_same_episode(by_episode, 0, 5, actions, iter(expected))


def assert_same_episode(
    env: LiberoEnv,
    init_index: int,
    seed: int,
    actions: NDArray[np.float64],
    rows: Iterator[tuple[dict[str, Any], NDArray[np.float64]]],
) -> None:
    """Play one episode and compare each step with the next of ``rows``."""
    env.reset(init_index=init_index, seed=seed)
    for action in actions:
        observation, qpos = next(rows)
        ours = env.observe(("agentview", "wrist"))
        np.testing.assert_array_equal(env.privileged().data.qpos, qpos)
        np.testing.assert_array_equal(ours.proprio, official_proprio(observation))
        np.testing.assert_array_equal(ours.images["agentview"], observation["agentview_image"][::-1, ::-1])
        np.testing.assert_array_equal(ours.images["wrist"], observation["robot0_eye_in_hand_image"][::-1, ::-1])
        env.step(action)


@pytest.mark.parametrize("task_id", [3, 7])
def test_lean_steps_equal_robosuite_steps(reference_assets: ResolvedAssets, task_id: int) -> None:
    """60 random actions after the settle steps: positions, velocities, success and what the observables see."""
    from libero.libero.envs.env_wrapper import ControlEnv

    task = load_task("libero_spatial", task_id)
    plain, lean = (
        ControlEnv(str(task.bddl_file), use_camera_obs=False, has_offscreen_renderer=False) for _ in range(2)
    )
    for env in (plain, lean):
        env.seed(0)
        env.reset()
        env.set_init_state(task.init_states[1])
    stepper = LeanStepper(lean.env)
    actions = np.random.default_rng(task_id).uniform(-1.2, 1.2, size=(60, 7))
    actions[20:30, 3:6] = 0.0  # the controller keeps its old orientation goal then
    actions[30:34, 6] = 0.0  # the gripper holds
    for action in [*np.tile(np.array(WAIT, dtype=float), (10, 1)), *actions]:
        observation, _, success, _ = plain.step(action)
        sample = stepper.step(action)
        np.testing.assert_array_equal(lean.sim.data.qpos, plain.sim.data.qpos)
        np.testing.assert_array_equal(lean.sim.data.qvel, plain.sim.data.qvel)
        np.testing.assert_array_equal(sample.eef_pos, observation["robot0_eef_pos"])
        np.testing.assert_array_equal(sample.hand_quat_wxyz[[1, 2, 3, 0]], observation["robot0_eef_quat"])
        np.testing.assert_array_equal(sample.gripper_qpos, observation["robot0_gripper_qpos"])
        assert bool(lean.env._check_success()) == success
    plain.close()
    lean.close()
