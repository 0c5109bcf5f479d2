"""The WidowX 250S as SIMPLER sets it up, and its controller: end-effector deltas added to the last target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import sapien
from numpy.typing import NDArray
from sapien import physx

from runners.envs.simpler.contacts import MIN_IMPULSE, angle_degrees, impulse_on
from runners.envs.simpler.physics import PhysicsRecipe
from runners.envs.simpler.robot import Drive, LinkMaterial, Robot, RobotModel
from runners.envs.simpler.rotations import matrix_of, quaternion_of

RECIPE = PhysicsRecipe(sim_hz=500, control_hz=5, contact_offset=0.005)

_GRIPPER = Drive(1000.0, 200.0, 60.0)
_FINGER_MATERIAL = LinkMaterial(2.0, 2.0, patch_radius=0.01)
WIDOWX_MODEL = RobotModel(
    urdf=Path("data/robots/widowx/wx250s.urdf"),
    drives={
        "waist": Drive(1169.7891719504198, 330.0, 200.0),
        "shoulder": Drive(730.0, 180.0, 200.0),
        "elbow": Drive(808.4601346394447, 152.12036565582588, 100.0),
        "forearm_roll": Drive(1229.1299089624076, 309.6215302722146, 100.0),
        "wrist_angle": Drive(1272.2760456418862, 201.04998711007383, 100.0),
        "wrist_rotate": Drive(1056.3326605132252, 269.51458932695414, 100.0),
        "left_finger": _GRIPPER,
        "right_finger": _GRIPPER,
    },
    tcp="ee_gripper_link",
    materials={"left_finger_link": _FINGER_MATERIAL, "right_finger_link": _FINGER_MATERIAL},
    armature={},
    multiple_collisions=True,
)
ARM, FINGERS = range(6), range(6, 8)

#: Finger positions (m) that -1 and +1 ask for: 1 mm beyond the limits, so that a closed gripper keeps squeezing.
CLOSED_M, OPEN_M = 0.014, 0.038
GRASP_ANGLE = 60.0


class WidowXController:
    """``arm_pd_ee_target_delta_pose_align2_gripper_pd_joint_pos``: one command a control step, no interpolation."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self.target = robot.tcp_at_base

    def command(self, action: NDArray[np.floating]) -> None:
        """Set the drives.

        Args:
            action: float[7], position delta (m), rotation vector (rad), gripper (-1 closes, +1 opens, clipped).
        """
        self.target = self._shifted(np.asarray(action, dtype=np.float64))
        solution = self._robot.inverse_kinematics(self.target, ARM)
        # Without a solution the arm holds where it is; the target keeps its shift nevertheless, as upstream's does.
        qpos = self._robot.qpos if solution is None else solution
        self._robot.drive_to(ARM, qpos[list(ARM)])
        opening = CLOSED_M + (np.clip(action[6], -1.0, 1.0) + 1.0) / 2.0 * (OPEN_M - CLOSED_M)
        self._robot.drive_to(FINGERS, np.array([opening, opening]))

    def _shifted(self, action: NDArray[np.float64]) -> sapien.Pose:
        """The last target, turned about the sensed tool and moved. All in the frame of the base."""
        center = self._robot.tcp_at_base.p
        delta = sapien.Pose(action[:3], quaternion_of(action[3:6]))
        return sapien.Pose(center) * delta * sapien.Pose(-center) * self.target


def is_grasped(robot: Robot, contacts: list[physx.PhysxContact], entity: sapien.Entity) -> bool:
    """Whether both fingers press on ``entity``, each within 60 degrees of the way that opens it."""
    return all(
        _presses(robot.links[f"{side}_finger_link"].entity, sign, contacts, entity)
        for side, sign in (("left", 1.0), ("right", -1.0))
    )


def _presses(finger: sapien.Entity, sign: float, contacts: list[physx.PhysxContact], entity: sapien.Entity) -> bool:
    impulse = impulse_on(contacts, finger, entity)
    opening = sign * matrix_of(finger.pose.q)[:, 1]
    return bool(np.linalg.norm(impulse) >= MIN_IMPULSE and angle_degrees(opening, impulse) <= GRASP_ANGLE)
