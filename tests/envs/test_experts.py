"""The scripted expert of libero_spatial and the geometry it stands on."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from runners.assets import ResolvedAssets
from runners.envs.base import PrivilegedPolicy
from runners.envs.libero import make_libero_env
from runners.experts import build_expert
from runners.experts.libero_spatial import _rotation_vector
from runners.experts.reach import REACH_MARGIN, Obstacles, clamp_to_reach, max_reach


def count_successes(assets: ResolvedAssets, task_id: int, init_indices: list[int]) -> int:
    """Successful episodes of the expert."""
    expert = build_expert("libero_spatial")
    successes = 0
    with closing(make_libero_env("libero_spatial", task_id, assets=assets)) as env:
        for init_index in init_indices:
            expert.attach(env)
            now = env.reset(init_index=init_index, seed=0)
            expert.reset(0)
            while not now.done:
                now = env.step(expert.infer(env.observe(expert.cameras)).actions[0])
            successes += now.success
    return successes


def test_expert_is_a_privileged_policy_without_pictures() -> None:
    expert = build_expert("libero_spatial")
    assert isinstance(expert, PrivilegedPolicy)
    assert (expert.cameras, expert.weights, expert.num_open_loop_steps) == ((), "none", 1)


@pytest.mark.sim
@pytest.mark.parametrize(("task_id", "init_index"), [(2, 0), (4, 1)])
def test_expert_solves_a_table_task_and_the_drawer_task(
    builtin_assets: ResolvedAssets, task_id: int, init_index: int
) -> None:
    assert count_successes(builtin_assets, task_id, [init_index]) == 1


@pytest.mark.sim
@pytest.mark.slow
def test_expert_solves_96_percent(builtin_assets: ResolvedAssets) -> None:
    """10 tasks x 5 init states on the built-in pack; below this, assets, controller or success rule are broken."""
    assert sum(count_successes(builtin_assets, task_id, list(range(5))) for task_id in range(10)) >= 48


@pytest.mark.sim
def test_doing_nothing_fails(builtin_assets: ResolvedAssets) -> None:
    with closing(make_libero_env("libero_spatial", 2, assets=builtin_assets, max_steps=15)) as env:
        now = env.reset(init_index=0, seed=0)
        while not now.done:
            now = env.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))
        assert not now.success


@pytest.fixture
def boxes() -> Obstacles:
    """A cube of side 2 at the origin, and one turned by 45 degrees about z at x = 10."""
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


def test_reach_is_widest_at_the_shoulder() -> None:
    assert max_reach(1.035) == pytest.approx(0.778)
    assert max_reach(1.3) < max_reach(1.1) < max_reach(1.035)


def test_targets_are_pulled_into_the_reach() -> None:
    base = np.array([-0.66, 0.0, 0.9])
    near = np.array([-0.2, 0.1, 1.1])
    np.testing.assert_array_equal(clamp_to_reach(near, base), near)
    far = clamp_to_reach(np.array([0.5, 0.0, 1.1]), base)
    assert far[0] - base[0] == pytest.approx(max_reach(1.1) - REACH_MARGIN)
    assert far[2] == 1.1


def test_rotation_vector() -> None:
    angle = 0.3
    about_z = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    np.testing.assert_allclose(_rotation_vector(about_z), [0, 0, angle], atol=1e-12)
    np.testing.assert_array_equal(_rotation_vector(np.eye(3)), np.zeros(3))
