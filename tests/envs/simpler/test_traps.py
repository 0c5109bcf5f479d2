"""What a port of the original simulator gets wrong otherwise, as far as no other file has it (simpler.md 9)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from runners.assets.maniskill import ManiSkillAssets
from runners.envs.simpler.bridge_tasks import BRIDGE_TASKS

pytestmark = pytest.mark.simpler

#: kg, of the original's bodies.
DRAWER_MASS = 11.3765


def google_start(maniskill: ManiSkillAssets, task_id: int, layout: int = 0):
    from runners.envs.simpler.google import GoogleStart

    return GoogleStart(maniskill.root, "simpler_google_vm", task_id).start(layout)


@pytest.mark.parametrize("name", ["coke_h_11", "near_00", "near_27", "place_a0_00"])
def test_masses_of_the_google_tasks_are_the_originals(maniskill: ManiSkillAssets, oracles_dir: Path, name: str) -> None:
    """Move-near has lighter fruit than the others: apple 54 g there, 214 g on the cabinet."""
    from runners.envs.simpler.objects import body_of
    from runners.envs.simpler.recorded_layouts import google_layout

    facts = json.loads((oracles_dir / f"simpler/episodes/{name}__purp.json").read_text(encoding="utf-8"))
    episode = google_start(maniskill, *google_layout(name))
    assert set(facts["objects"]) == set(episode.objects)
    for body, told in facts["objects"].items():
        assert body_of(episode.objects[body]).mass == pytest.approx(told["mass"], rel=2e-3), body


def test_drawers_weigh_what_the_original_makes_of_a_file_without_masses(maniskill: ManiSkillAssets) -> None:
    episode = google_start(maniskill, 4)
    for drawer in ("top", "middle", "bottom"):
        assert episode.cabinet.links[f"{drawer}_drawer"].mass == pytest.approx(DRAWER_MASS, rel=1e-4)


@pytest.mark.parametrize("robot", ["widowx", "google"])
def test_drives_never_ask_for_more_than_the_joints_have(maniskill: ManiSkillAssets, robot: str) -> None:
    """SAPIEN 2 clips position targets by itself; 82 of the 120 recordings ask for more."""
    from runners.envs.simpler.bridge import BridgeStart

    episode = google_start(maniskill, 4) if robot == "google" else BridgeStart(maniskill.root, BRIDGE_TASKS[0]).start(0)
    limits = episode.robot.limits
    joints = range(len(limits))
    episode.robot.drive_to(joints, limits[:, 1] + 0.2)
    targets = np.array([joint.drive_target[0] for joint in episode.robot._joints])
    np.testing.assert_allclose(targets, limits[:, 1], atol=1e-6)
    episode.robot.drive_to(joints, limits[:, 0] - 0.2)
    targets = np.array([joint.drive_target[0] for joint in episode.robot._joints])
    np.testing.assert_allclose(targets, limits[:, 0], atol=1e-6)


def test_contacts_count_for_carrot_and_cubes_alone() -> None:
    """These two also succeed while they are held: the robot's own touch is no foreign one."""
    assert [task.only_target_touched for task in BRIDGE_TASKS] == [False, True, True, False]
    assert [task.max_gap for task in BRIDGE_TASKS] == [0.02, 0.02, 0.02, 0.06]


def test_the_sink_stands_where_the_scripts_put_the_robot() -> None:
    """Not at y = 0.07, the environment's own default."""
    x, y, _ = BRIDGE_TASKS[3].setup.base_position
    assert (x, y) == (0.127, 0.06)


def test_the_tool_of_the_google_robot_projects_to_where_its_fingers_point(maniskill: ManiSkillAssets) -> None:
    import sapien

    from runners.envs.simpler.picture import draw

    episode = google_start(maniskill, 0)
    look = episode.look.camera
    mount = episode.robot.links["link_camera"].entity_pose
    forward, left, up = ((mount * sapien.Pose(look.position, look.quaternion)).inv() * episode.tool_pose()).p
    column, row = look.center[0] - look.focal[0] * left / forward, look.center[1] - look.focal[1] * up / forward
    frame = draw(episode.look, episode.poses())
    fingers = [at for at, name in enumerate(frame.names) if "finger" in name and not name.endswith("base")]
    rows, columns = np.nonzero(np.isin(frame.body, fingers))
    assert rows.min() < row < rows.max(), (row, rows.min(), rows.max())
    assert abs(column - columns.min()) < 15, "seen from the head they point to the left"
