"""Wide layouts measured by what does not know the generator's numbers: MuJoCo's shapes and the expert's reach."""

from __future__ import annotations

import itertools
from contextlib import closing
from dataclasses import replace

import mujoco
import numpy as np
import pytest

from runners.assets import ResolvedAssets
from runners.envs.libero import LiberoEnv, make_libero_env
from runners.envs.libero_placement import wide_state
from runners.envs.libero_state import LiberoState
from runners.envs.wide.draft import CABINET, PLATE, STOVE, TARGET, WideLayout
from runners.envs.wide.geometry import CABINET_CLOSED, STOVE_TOP, Pose, Rectangle
from runners.envs.wide.layout import NUM_TASKS, Stream, sample_wide_layout
from runners.experts.reach import Obstacles, max_reach
from runners.experts.rim_grasp import APPROACH_HEIGHT, BOWL_RIM, NUM_ANGLES

#: What a stacked bowl may sink into its support where it is put down.
DEEPEST = 0.001
#: Root of the arm, as ``test_the_arm_stands_where_the_reach_is_measured_from`` finds it.
ARM = np.array([-0.66, 0.0, 0.912])
#: So much below the reach the expert's grasps cost nothing extra (``grasp_cost``).
STRAIN = 0.03


def strain(points: np.ndarray) -> np.ndarray:
    """How far points float64[N, 3] lie beyond what a hand pointing down reaches freely."""
    away = np.linalg.norm(points[:, :2] - ARM[:2], axis=1)
    return away - np.array([max_reach(float(z - ARM[2])) - STRAIN for z in points[:, 2]])


@pytest.mark.parametrize("task_id", range(NUM_TASKS))
def test_a_rim_point_is_reached_at_bowl_and_plate_in_100_layouts_of_each_task(task_id: int) -> None:
    """One and the same point of the rim: where the fingers close, above it, and over the plate."""
    angles = np.arange(NUM_ANGLES) * (2 * np.pi / NUM_ANGLES)
    rim = np.stack([np.cos(angles), np.sin(angles), np.zeros(NUM_ANGLES)], axis=1) * BOWL_RIM.radius
    rim[:, 2] = BOWL_RIM.grasp_height
    above = np.array([0.0, 0.0, APPROACH_HEIGHT])
    for index in range(100):
        layout = sample_wide_layout(Stream.EVALUATION, task_id, index, 0)
        bowl, plate = (layout.objects[name].position for name in (TARGET, PLATE))
        worst = np.max([strain(bowl + rim), strain(bowl + rim + above), strain(plate + rim)], axis=0)
        assert worst.min() < 0.0, index


def drawn(env: LiberoEnv, layout: WideLayout) -> LiberoState:
    """The scene as it is put down, before it settles."""
    start = wide_state(env._robosuite_env(), layout)  # moves the fixtures of the model too
    state = env.privileged()
    data = mujoco.MjData(state.model)
    data.qpos[:] = start[1 : 1 + state.model.nq]
    mujoco.mj_forward(state.model, data)
    return replace(state, data=data)


def owners(state: LiberoState) -> list[str]:
    """Whom each body belongs to: an object, a fixture, the robot; what is left is the room."""
    names = ["room"] * state.model.nbody
    for body in range(state.model.nbody):
        if state.model.body(body).name.startswith(("robot0_", "gripper0_", "mount0_")):
            names[body] = "robot"
    for name, root in state.root_bodies.items():
        for body in np.flatnonzero(state.subtree(root)):
            names[body] = name
    return names


def touching(state: LiberoState) -> dict[frozenset[str], float]:
    """Smallest distance of every two owners in contact, the room left out.

    Without a margin: with one, boxes that are millimetres apart can be reported as centimetres inside each other.
    """
    names, found = owners(state), {}
    for contact in state.data.contact[: state.data.ncon]:
        pair = frozenset(names[state.model.geom_bodyid[geom]] for geom in contact.geom)
        if len(pair) == 2 and "room" not in pair:
            found[pair] = min(found.get(pair, np.inf), float(contact.dist))
    return found


def supports(layout: WideLayout, state: LiberoState) -> dict[frozenset[str], float]:
    """Pairs that stand on each other; a drawer belongs to its cabinet."""
    return {
        frozenset((name, next(known for known in state.root_bodies if on.startswith(known)))): -DEEPEST
        for name, on in layout.stacked.items()
    }


def assert_apart(layout: WideLayout, state: LiberoState) -> None:
    allowed = supports(layout, state)
    for pair, distance in touching(state).items():
        assert distance > allowed.get(pair, np.inf), f"{sorted(pair)} begin {-1e3 * distance:.1f} mm in each other"


def assert_on_the_table(layout: WideLayout, state: LiberoState) -> None:
    table = state.model.geom("table_collision").id
    middle, half = state.data.geom_xpos[table], state.model.geom_size[table]
    for name in set(layout.objects) - set(layout.stacked):
        corners = Obstacles.of_object(state, name).corners().reshape(-1, 3)
        assert (np.abs(corners[:, :2] - middle[:2]) < half[:2]).all(), name
        assert -0.001 < corners[:, 2].min() - (middle[2] + half[2]) < 0.006, name


def test_cabinet_and_stove_are_apart() -> None:
    """Their footprints; neither moves."""
    overlapping = []
    for task_id, index in itertools.product(range(NUM_TASKS), range(100)):
        fixtures = sample_wide_layout(Stream.EVALUATION, task_id, index, 0).fixtures
        cabinet, stove = corners_of(fixtures[CABINET], CABINET_CLOSED), corners_of(fixtures[STOVE], STOVE_TOP)
        if separation(cabinet, stove) < 0.0:
            overlapping.append((task_id, index))
    assert not overlapping, f"{len(overlapping)} of 1000: {overlapping}"


def corners_of(pose: Pose, footprint: Rectangle) -> np.ndarray:
    """float64[4, 2] in the world, in order around the rectangle."""
    (left, low), (right, high) = footprint.low, footprint.high
    around = ((left, low), (right, low), (right, high), (left, high))
    return np.array([pose.to_world(np.array(point)) for point in around])


def separation(one: np.ndarray, other: np.ndarray) -> float:
    """Largest gap between two rectangles along the normals of their sides; negative where they overlap."""
    gaps = []
    for side in (*np.diff(one, axis=0)[:2], *np.diff(other, axis=0)[:2]):
        a, b = (points @ side / np.linalg.norm(side) for points in (one, other))
        gaps.append(max(a.min() - b.max(), b.min() - a.max()))
    return float(max(gaps))


def test_separation_of_rectangles() -> None:
    square = Rectangle((-0.1, -0.1), (0.1, 0.1))
    middle = corners_of(Pose(np.zeros(3), 0.0), square)
    turned = corners_of(Pose(np.array([0.3, 0.0, 0.0]), np.pi / 4), square)
    assert separation(middle, turned) == pytest.approx(0.2 - 0.1 * np.sqrt(2))
    assert separation(middle, turned - [0.1, 0.0]) == pytest.approx(0.1 - 0.1 * np.sqrt(2))


@pytest.mark.sim
@pytest.mark.parametrize("task_id", range(NUM_TASKS))
def test_shapes_are_apart_and_on_the_table_in_100_layouts_of_each_task(
    builtin_assets: ResolvedAssets, task_id: int
) -> None:
    with closing(make_libero_env("libero_spatial", task_id, assets=builtin_assets, placement="wide")) as env:
        env.reset(init_index=0, seed=0)
        for index in range(100):
            layout = sample_wide_layout(Stream.EVALUATION, task_id, index, 0)
            state = drawn(env, layout)
            if index == 0:
                np.testing.assert_allclose(state.data.qpos, env._start_state[1 : 1 + state.model.nq], atol=1e-3)
            assert_apart(layout, state)
            assert_on_the_table(layout, state)
        bowl, plate = (state.model.joint(f"{name}_joint0").qposadr[0] for name in (TARGET, PLATE))
        state.data.qpos[bowl : bowl + 2] = state.data.qpos[plate : plate + 2] + 0.05  # the check sees an overlap
        state.data.qpos[bowl + 2] = state.data.qpos[plate + 2]
        mujoco.mj_forward(state.model, state.data)
        with pytest.raises(AssertionError, match=f"{TARGET}.* in each other"):
            assert_apart(layout, state)


@pytest.mark.sim
def test_the_arm_stands_where_the_reach_is_measured_from(builtin_assets: ResolvedAssets) -> None:
    with closing(make_libero_env("libero_spatial", 0, assets=builtin_assets, placement="wide")) as env:
        env.reset(init_index=0, seed=0)
        np.testing.assert_allclose(env.privileged().base_pos, ARM, atol=1e-6)
