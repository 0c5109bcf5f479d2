"""The WidowX controller by the numbers of the original: holding, moving, turning, the gripper, the camera."""

from __future__ import annotations

import numpy as np
import pytest

from runners.assets.maniskill import ManiSkillAssets

pytestmark = pytest.mark.simpler


@pytest.fixture
def episode(maniskill: ManiSkillAssets):
    from runners.envs.simpler.bridge import BridgeStart
    from runners.envs.simpler.bridge_tasks import BRIDGE_TASKS

    return BridgeStart(maniskill.root, BRIDGE_TASKS[1]).start(0)


def action(*, move=(0.0, 0.0, 0.0), turn=(0.0, 0.0, 0.0), gripper=1.0):
    return np.array([*move, *turn, gripper])


def test_zero_actions_hold_the_tool_within_a_millimetre(episode):
    start = episode.robot.tcp_at_base.p.copy()
    for _ in range(20):
        episode.step(action())
        assert np.linalg.norm(episode.robot.tcp_at_base.p - start) < 1e-3


def test_two_moves_of_20_mm_reach_39_5_mm(episode):
    start = episode.robot.tcp_at_base.p.copy()
    for _ in range(2):
        episode.step(action(move=(0.02, 0.0, 0.0)))
    for _ in range(5):
        episode.step(action())
    moved = 1e3 * (episode.robot.tcp_at_base.p - start)
    assert moved[0] == pytest.approx(39.5, abs=0.6)
    assert np.abs(moved[1:]).max() < 1.0


def test_a_rotation_vector_turns_about_the_axes_of_the_base(episode):
    from scipy.spatial.transform import Rotation

    start = Rotation.from_quat(episode.robot.tcp_at_base.q, scalar_first=True)
    episode.step(action(turn=(0.0, 0.0, 0.1)))
    for _ in range(6):
        episode.step(action())
    turned = Rotation.from_quat(episode.robot.tcp_at_base.q, scalar_first=True) * start.inv()
    np.testing.assert_allclose(turned.as_rotvec(), [0.0, 0.0, 0.1], atol=4e-3)


def test_targets_add_up_where_no_solution_exists(episode):
    """Far outside the reach the arm holds; the target has moved all the same, as the original's does."""
    before = episode.target_pose.p.copy()
    qpos = episode.robot.qpos
    episode.step(action(move=(2.0, 0.0, 0.0)))
    np.testing.assert_allclose(episode.target_pose.p - before, [2.0, 0.0, 0.0], atol=1e-5)
    assert np.abs(episode.robot.qpos - qpos)[:6].max() < 0.05


def test_the_gripper_is_absolute_and_stops_at_its_limits(episode):
    fingers = slice(6, 8)
    for command, limit in ((-1.0, 0.015), (1.0, 0.037), (-5.0, 0.015)):
        for _ in range(8):
            episode.step(action(gripper=command))
        np.testing.assert_allclose(episode.robot.qpos[fingers], limit, atol=5e-4)
    targets = [joint.drive_target[0] for joint in episode.robot._joints[fingers]]
    np.testing.assert_allclose(targets, 0.015, atol=1e-6), "SAPIEN 2 clips what 0.014 m asks for"


def test_nothing_moves_for_a_second_after_settling(episode):
    before = {name: entity.pose.p.copy() for name, entity in episode.objects.items()}
    for _ in range(5):
        episode.step(action())
    for name, entity in episode.objects.items():
        assert np.linalg.norm(entity.pose.p - before[name]) < 1e-4, name


def test_the_tool_projects_to_where_it_is_drawn(episode):
    """The fingers' pixels lie round the projected tool, left and right of it."""
    from runners.envs.simpler.picture import draw

    look = episode.look.camera
    frame = draw(episode.look, episode.poses())
    import sapien

    camera = episode.robot.base_pose * sapien.Pose(look.position, look.quaternion)
    forward, left, up = (camera.inv() * episode.tool_pose()).p
    column = look.center[0] - look.focal[0] * left / forward
    row = look.center[1] - look.focal[1] * up / forward
    fingers = [frame.names.index(f"robot/{side}_finger_link") for side in ("left", "right")]
    rows, columns = np.nonzero(np.isin(frame.body, fingers))
    assert rows.min() < row < rows.max()
    assert columns.min() < column < columns.max()
    assert abs(column - columns.mean()) < 25
