"""SIMPLER's static Google robot as data: joints by name, drives, materials, start pose.

Source: ManiSkill2_real2sim, ``agents/configs/google_robot/defaults.py`` and ``agents/robots/googlerobot.py``; the
numbers were checked against recordings of the original simulator. Units: m, rad, kg, N, s.
"""

from __future__ import annotations

import math
from pathlib import Path

import sapien

from runners.envs.simpler.google_settings import URDF_VARIANTS
from runners.envs.simpler.physics import PhysicsRecipe
from runners.envs.simpler.robot import Drive, LinkMaterial, RobotModel

SIM_HZ = 513
CONTROL_HZ = 3
#: Physics steps in one control step.
NUM_SUBSTEPS = SIM_HZ // CONTROL_HZ

URDF_FOLDER = Path("data/robots/googlerobot")
_URDF_STEM = "google_robot_meta_sim_fix_wheel_fix_fingertip"
#: The original sets stiffness 200 and damping 8, but its solver leaves the fingers with less: in the recordings a held
#: object is pressed with about 402 N per rad of drive error, at the finger tips a stiffness of about 60. From 30 to 60
#: with a fifteenth of it as damping the flags hardly differ; with a third, the velocity target of an opening path
#: outweighs the squeeze, and the fingers let go half a control step too early.
_FINGER_DRIVE = Drive(50.0, 3.0, 60.0)
_HEAD_DRIVE = Drive(2000.0, 900.0, 100.0)
#: In SAPIEN 2's order of the active joints.
_DRIVES: dict[str, Drive] = {
    "joint_torso": Drive(1700.0, 1059.9791902443303, 300.0),
    "joint_shoulder": Drive(1737.0471680861954, 1010.4720585373592, 300.0),
    "joint_bicep": Drive(979.975871856535, 767.2803161582076, 100.0),
    "joint_elbow": Drive(930.0, 680.0, 100.0),
    "joint_forearm": Drive(1212.154500274304, 674.9946964336588, 100.0),
    "joint_wrist": Drive(432.96500923932535, 274.613381336198, 100.0),
    "joint_gripper": Drive(468.0013365498738, 340.532560578637, 100.0),
    "joint_finger_right": _FINGER_DRIVE,
    "joint_finger_left": _FINGER_DRIVE,
    "joint_head_pan": _HEAD_DRIVE,
    "joint_head_tilt": _HEAD_DRIVE,
}
#: Where every episode starts, order of ``_DRIVES``.
START_QPOS: tuple[float, ...] = (
    -0.2639457174606611,
    0.0831913360274175,
    0.5017611504652179,
    1.156859026208673,
    0.028583671314766423,
    1.592598203487462,
    -1.080652960128774,
    0.0,
    0.0,
    -0.00285961,
    0.7851361,
)
#: Joints of the arm, and the fingers, right then left. The original commands the head with the arm; it has no part in
#: where the tool is, so it holds its pose either way.
ARM: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
FINGERS: tuple[int, ...] = (7, 8)

CAMERA_LINK = "link_camera"
#: Finger and finger tip of each side; the grasp test reads the impulses on both.
FINGER_LINKS: dict[str, tuple[str, str]] = {
    "left": ("link_finger_left", "link_finger_tip_left"),
    "right": ("link_finger_right", "link_finger_tip_right"),
}

_FINGER = LinkMaterial(2.0, 2.0, 0.1)
_NAIL = LinkMaterial(0.1, 0.1, 0.01)
_WHEEL = LinkMaterial(1.0, 0.0, 0.1)
#: Of the links that have their own; the others have friction 1 and no patch.
_MATERIALS: dict[str, LinkMaterial] = {
    "link_base": LinkMaterial(0.1, 0.0, 0.1),
    "link_wheel_left": _WHEEL,
    "link_wheel_right": _WHEEL,
    "link_finger_left": _FINGER,
    "link_finger_right": _FINGER,
    "link_finger_tip_left": _FINGER,
    "link_finger_tip_right": _FINGER,
    "link_finger_nail_left": _NAIL,
    "link_finger_nail_right": _NAIL,
}
#: Range (rad) of each finger in the simulation: an empty gripper stops where its fingers meet. Their own contacts hold
#: them there in the original; in SAPIEN 3 those throw the arm about, so the joints stop there and the fingers pass
#: through each other. A tendon on the sum of both angles was tried too: it agreed less with the recordings.
_FINGER_STOP = (-0.0001, 1.0735)
_FINGER_PARTS = tuple(f"link_finger{part}_{side}" for part in ("", "_tip", "_nail") for side in ("right", "left"))
#: kg m^2 on each finger joint. Without it (the fingers have 1e-5) SAPIEN 3's solver throws the arm about as soon as
#: the fingers press on each other.
_FINGER_ARMATURE = 1e-3

#: Height of the base's origin over the floor: 6.205 cm of wheels and the 1.7 cm at which SIMPLER lays its floor.
BASE_HEIGHT = 0.06205 + 0.017


def settle_recipe(contact_offset: float) -> PhysicsRecipe:
    """How objects fall and come to rest: the original's solver, which reproduces its settled poses."""
    return PhysicsRecipe(SIM_HZ, CONTROL_HZ, contact_offset)


def episode_recipe(contact_offset: float) -> PhysicsRecipe:
    """How an episode is simulated; see docs/decisions/010 for why the solver is not the original's."""
    return PhysicsRecipe(SIM_HZ, CONTROL_HZ, contact_offset, tgs=False, position_iterations=50)


def google_model(variant: str) -> RobotModel:
    """The robot in one of its colours, ``""`` for the plain one.

    Raises:
        ValueError: no such variant.
    """
    if variant not in URDF_VARIANTS:
        raise ValueError(f"urdf variant: expected one of {list(URDF_VARIANTS)}, got {variant!r}")
    return RobotModel(
        urdf=URDF_FOLDER / f"{_URDF_STEM}{'_' if variant else ''}{variant}.urdf",
        drives=_DRIVES,
        tcp="link_gripper_tcp",
        materials=_MATERIALS,
        armature={list(_DRIVES)[joint]: _FINGER_ARMATURE for joint in FINGERS},
        multiple_collisions=True,
        weightless=True,
        stops={list(_DRIVES)[joint]: _FINGER_STOP for joint in FINGERS},
        passing=_FINGER_PARTS,
    )


def base_pose(x: float, y: float, yaw: float) -> sapien.Pose:
    """Of the robot at (x, y): turned by the yaw and then by half a turn, so that it faces -x."""
    return sapien.Pose([x, y, BASE_HEIGHT], [-math.sin(yaw / 2), 0.0, 0.0, math.cos(yaw / 2)])
