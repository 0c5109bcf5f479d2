"""SIMPLER's static Google robot as data: joints by name, drives, materials, start pose, camera.

Source: ManiSkill2_real2sim, ``agents/configs/google_robot/defaults.py`` and ``agents/robots/googlerobot.py``; the
numbers were checked against recordings of the original simulator. Units: m, rad, kg, N, s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIM_HZ = 513
CONTROL_HZ = 3
#: Physics steps in one control step.
NUM_SUBSTEPS = SIM_HZ // CONTROL_HZ

URDF_STEM = "google_robot_meta_sim_fix_wheel_fix_fingertip"
#: Colours of the arm, in the order of SIMPLER's visual-matching scripts; the physics is the same.
URDF_VARIANTS: tuple[str, ...] = (
    "",
    "recolor_tabletop_visual_matching_1",
    "recolor_tabletop_visual_matching_2",
    "recolor_cabinet_visual_matching_1",
)


@dataclass(frozen=True, slots=True)
class Drive:
    """PD drive of one joint: ``stiffness`` N m/rad, ``damping`` N m s/rad, ``force_limit`` N m; ``start`` rad."""

    stiffness: float
    damping: float
    force_limit: float
    start: float


#: The nine joints that the arm controller commands, in SIMPLER's order. The head holds its pose.
ARM_DRIVES: dict[str, Drive] = {
    "joint_torso": Drive(1700.0, 1059.9791902443303, 300.0, -0.2639457174606611),
    "joint_shoulder": Drive(1737.0471680861954, 1010.4720585373592, 300.0, 0.0831913360274175),
    "joint_bicep": Drive(979.975871856535, 767.2803161582076, 100.0, 0.5017611504652179),
    "joint_elbow": Drive(930.0, 680.0, 100.0, 1.156859026208673),
    "joint_forearm": Drive(1212.154500274304, 674.9946964336588, 100.0, 0.028583671314766423),
    "joint_wrist": Drive(432.96500923932535, 274.613381336198, 100.0, 1.592598203487462),
    "joint_gripper": Drive(468.0013365498738, 340.532560578637, 100.0, -1.080652960128774),
    "joint_head_pan": Drive(2000.0, 900.0, 100.0, -0.00285961),
    "joint_head_tilt": Drive(2000.0, 900.0, 100.0, 0.7851361),
}
FINGER_DRIVES: dict[str, Drive] = {
    "joint_finger_right": Drive(200.0, 8.0, 60.0, 0.0),
    "joint_finger_left": Drive(200.0, 8.0, 60.0, 0.0),
}
DRIVES: dict[str, Drive] = ARM_DRIVES | FINGER_DRIVES
ARM_JOINTS: tuple[str, ...] = tuple(ARM_DRIVES)
FINGER_JOINTS: tuple[str, ...] = tuple(FINGER_DRIVES)

TCP_LINK = "link_gripper_tcp"
CAMERA_LINK = "link_camera"
#: Finger and finger tip of each side; the grasp test reads the impulses on both.
FINGER_LINKS: dict[str, tuple[str, str]] = {
    "left": ("link_finger_left", "link_finger_tip_left"),
    "right": ("link_finger_right", "link_finger_tip_right"),
}

#: Height of the base's origin over the floor: 6.205 cm of wheels and the 1.7 cm at which SIMPLER lays its floor.
BASE_HEIGHT = 0.06205 + 0.017


@dataclass(frozen=True, slots=True)
class Contact:
    """Material of a link's collision shapes; ``patch_radius`` in m makes point contacts resist torsion."""

    static_friction: float
    dynamic_friction: float
    patch_radius: float


_FINGER = Contact(2.0, 2.0, 0.1)
_NAIL = Contact(0.1, 0.1, 0.01)
_WHEEL = Contact(1.0, 0.0, 0.1)
#: Links with a material of their own; the others have friction 1 and no patch.
LINK_CONTACTS: dict[str, Contact] = {
    "link_base": Contact(0.1, 0.0, 0.1),
    "link_wheel_left": _WHEEL,
    "link_wheel_right": _WHEEL,
    "link_finger_left": _FINGER,
    "link_finger_right": _FINGER,
    "link_finger_tip_left": _FINGER,
    "link_finger_tip_right": _FINGER,
    "link_finger_nail_left": _NAIL,
    "link_finger_nail_right": _NAIL,
}


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera on ``CAMERA_LINK``: pixels, near and far plane in m, orientation wxyz on the link."""

    name: str
    width: int
    height: int
    focal: tuple[float, float]
    centre: tuple[float, float]
    near: float
    far: float
    orientation: tuple[float, float, float, float]


#: The set that SIMPLER's published numbers were made with (ManiSkill's stub has another, tuned by hand).
CAMERA = Camera("overhead_camera", 640, 512, (425.0, 425.0), (320.0, 256.0), 0.1, 10.0, (0.5, 0.5, -0.5, 0.5))


def urdf_name(variant: str) -> str:
    """File name of a colour variant, ``""`` for the plain one.

    Raises:
        ValueError: no such variant.
    """
    if variant not in URDF_VARIANTS:
        raise ValueError(f"urdf variant: expected one of {list(URDF_VARIANTS)}, got {variant!r}")
    return f"{URDF_STEM}{'_' if variant else ''}{variant}.urdf"


def base_pose(x: float, y: float, yaw: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Position float64[3] and orientation wxyz float64[4] of the base: SIMPLER's yaw, then half a turn (faces -x)."""
    # quaternion of the yaw, times (0, 0, 0, 1)
    return np.array([x, y, BASE_HEIGHT]), np.array([-np.sin(yaw / 2), 0.0, 0.0, np.cos(yaw / 2)])
