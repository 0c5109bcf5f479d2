"""Whether the Google robot holds an object: both sides press on it, roughly along the way that opens the gripper."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sapien
from sapien import physx

from runners.envs.simpler.contacts import MIN_IMPULSE, angle_degrees, impulse_on
from runners.envs.simpler.google_robot import FINGER_LINKS
from runners.envs.simpler.robot import Robot

GRASP_ANGLE = 80.0


def is_grasped(robot: Robot, contacts: Sequence[physx.PhysxContact], entity: sapien.Entity) -> bool:
    """Whether both sides press on ``entity`` within ``GRASP_ANGLE`` degrees of their links' y axis."""
    return all(_side_presses(robot, links, contacts, entity) for links in FINGER_LINKS.values())


def _side_presses(
    robot: Robot, links: Sequence[str], contacts: Sequence[physx.PhysxContact], entity: sapien.Entity
) -> bool:
    """One side: the stronger impulse of finger and tip counts, and the better angle of the two."""
    strongest, best_angle = 0.0, 180.0
    for name in links:
        finger = robot.links[name].entity
        impulse = impulse_on(contacts, finger, entity)
        strongest = max(strongest, float(np.linalg.norm(impulse)))
        best_angle = min(best_angle, angle_degrees(finger.pose.to_transformation_matrix()[:3, 1], impulse))
    return strongest >= MIN_IMPULSE and best_angle <= GRASP_ANGLE
