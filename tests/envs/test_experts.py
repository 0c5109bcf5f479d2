"""The scripted expert of libero_spatial and the geometry it stands on."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from runners.assets import ResolvedAssets
from runners.envs.base import PrivilegedPolicy
from runners.envs.libero import make_libero_env
from runners.experts import build_expert
from runners.experts.hand import pointing_down, rotation_vector
from runners.experts.reach import REACH_MARGIN, Obstacles, clamp_to_reach, max_reach


def count_successes(suite: str, assets: ResolvedAssets, task_id: int, init_indices: list[int]) -> int:
    """Successful episodes of the expert."""
    expert = build_expert(suite)
    successes = 0
    with closing(make_libero_env(suite, task_id, assets=assets)) as env:
        for init_index in init_indices:
            expert.attach(env)
            now = env.reset(init_index=init_index, seed=0)
            expert.reset(0)
            while not now.done:
                now = env.step(expert.infer(env.observe(expert.cameras)).actions[0])
            successes += now.success
    return successes


SUITES = ["libero_spatial", "libero_object", "libero_goal"]


@pytest.mark.parametrize("suite", SUITES)
def test_expert_is_a_privileged_policy_without_pictures(suite: str) -> None:
    expert = build_expert(suite)
    assert isinstance(expert, PrivilegedPolicy)
    assert (expert.cameras, expert.weights, expert.num_open_loop_steps) == ((), "none", 1)


@pytest.mark.sim
@pytest.mark.parametrize("task_id", range(10))
@pytest.mark.parametrize("suite", SUITES)
def test_expert_solves_an_episode_of_each_task(builtin_assets: ResolvedAssets, suite: str, task_id: int) -> None:
    """Official init state 10 + task: 30 episodes, about 45 s of processor time in all."""
    assert count_successes(suite, builtin_assets, task_id, [10 + task_id]) == 1


@pytest.mark.sim
@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_expert_solves_96_percent(builtin_assets: ResolvedAssets, suite: str) -> None:
    """10 tasks x 5 init states on the built-in pack; below this, assets, controller or success rule are broken."""
    assert sum(count_successes(suite, builtin_assets, task_id, list(range(5))) for task_id in range(10)) >= 48


@pytest.mark.sim
def test_doing_nothing_fails(builtin_assets: ResolvedAssets) -> None:
    with closing(make_libero_env("libero_spatial", 2, assets=builtin_assets, max_steps=15)) as env:
        now = env.reset(init_index=0, seed=0)
        while not now.done:
            now = env.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))
        assert not now.success


@pytest.fixture
def boxes() -> Obstacles:
    """A cube of side 2 around the origin, and one turned by 45 degrees about z at x = 10."""
    turned = np.array([[1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, np.sqrt(2)]]) / np.sqrt(2)
    return Obstacles(
        centres=np.array([[0.0, 0, 0], [10.0, 0, 0]]),
        rotations=np.stack([np.eye(3), turned]),
        halves=np.ones((2, 3)),
    )


def test_distance_to_boxes(boxes: Obstacles) -> None:
    points = np.array([[0.5, 0, 0], [3.0, 0, 0], [2.0, 2.0, 0], [10 - np.sqrt(2) - 1, 0, 0]])
    np.testing.assert_allclose(boxes.distances(points), [0.0, 2.0, np.sqrt(2), 1.0], atol=1e-12)


def test_top_along_sees_only_what_is_near_the_way(boxes: Obstacles) -> None:
    start, end = np.array([-5.0, 0, 0]), np.array([5.0, 0, 0])
    assert boxes.top_along(start, end, width=0.1) == pytest.approx(1.0)
    aside = np.array([0.0, 1.2, 0])
    assert boxes.top_along(start + aside, end + aside, width=0.1) == -np.inf
    assert boxes.top_along(start + aside, end + aside, width=0.3) == pytest.approx(1.0)


def test_column_is_free_beside_and_above_a_box(boxes: Obstacles) -> None:
    origin = np.zeros(2)
    assert not boxes.free_column(origin, 0.1, -3.0, 3.0)
    assert boxes.free_column(origin, 0.1, 1.02, 3.0)
    assert not boxes.free_column(np.array([1.05, 0.0]), 0.1, -0.5, 0.5)
    assert boxes.free_column(np.array([1.15, 0.0]), 0.1, -0.5, 0.5)


def test_column_does_not_step_over_a_thin_board() -> None:
    board = Obstacles(np.array([[0.0, 0.0, 0.517]]), np.eye(3)[None], np.array([[0.5, 0.5, 0.001]]))
    assert not board.free_column(np.zeros(2), 0.05, 0.0, 1.0)


def test_corners_of_a_turned_box(boxes: Obstacles) -> None:
    corners = boxes.corners()
    assert corners.shape == (2, 8, 3)
    np.testing.assert_allclose(np.abs(corners[0]), 1.0)
    np.testing.assert_allclose(np.ptp(corners[1], axis=0), [2 * np.sqrt(2), 2 * np.sqrt(2), 2.0])


def test_reach_is_widest_at_the_shoulder() -> None:
    assert max_reach(0.123) == pytest.approx(0.778)
    assert max_reach(0.388) < max_reach(0.188) < max_reach(0.123)


def test_targets_are_pulled_into_the_reach() -> None:
    base = np.array([-0.66, 0.0, 0.9])
    near = np.array([-0.2, 0.1, 1.1])
    np.testing.assert_array_equal(clamp_to_reach(near, base), near)
    far = clamp_to_reach(np.array([0.5, 0.0, 1.1]), base)
    assert far[0] - base[0] == pytest.approx(max_reach(1.1 - 0.9) - REACH_MARGIN)
    assert far[2] == 1.1


def test_rotation_vector() -> None:
    angle = 0.3
    about_z = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    np.testing.assert_allclose(rotation_vector(about_z), [0, 0, angle], atol=1e-12)
    np.testing.assert_array_equal(rotation_vector(np.eye(3)), np.zeros(3))


def test_hand_that_points_down() -> None:
    """A proper rotation: column 0 is the finger axis, column 2 points down."""
    rotation = pointing_down(0.5)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    np.testing.assert_allclose(rotation[:, 0], [np.cos(0.5), np.sin(0.5), 0.0])
    np.testing.assert_allclose(rotation[:, 2], [0.0, 0.0, -1.0])
