"""What all grasps from above share: their numbers, and what a good one costs. Metres and radians, world frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runners.envs.libero_state import LiberoState
from runners.experts.hand import finger_yaw, wrap
from runners.experts.reach import Obstacles, max_reach

MAX_TURN = math.radians(92)
CLEARANCE = 0.006
COMFORTABLE_REACH = 0.73
FINGER_SPHERE, HAND_SPHERE = 0.008, 0.034
HAND_ABOVE_TIPS = 0.078

CLEARANCE_WEIGHT, TURN_WEIGHT, DISTANCE_WEIGHT, REACH_WEIGHT = 150.0, 0.5, 0.3, 50.0


@dataclass(frozen=True, slots=True)
class Grasp:
    """How to seize an object from above.

    Attributes:
        offset: float64[3], grip site minus the object's origin when the fingers close. yaw: of the finger axis.
        approach: height above that point from which the hand comes down.
        hang: how far the object reaches below the grip site while it is carried.
    """

    offset: NDArray[np.float64]
    yaw: float
    approach: float
    hang: float


def smallest_turn(state: LiberoState, yaw: float) -> float | None:
    """Signed turn that brings the finger axis to ``yaw``, either way round; None beyond ``MAX_TURN``."""
    turn = min((wrap(yaw + flip - finger_yaw(state)) for flip in (0.0, math.pi)), key=abs)
    return None if abs(turn) > MAX_TURN else turn


def grasp_cost(
    state: LiberoState,
    obstacles: Obstacles,
    point: NDArray[np.float64],
    turn: float,
    fingers: tuple[NDArray[np.float64], NDArray[np.float64]],
    destination: NDArray[np.float64],
) -> float:
    """Cost of closing the fingers at ``point``: too little clearance, turning, moving, and reaching far.

    Args:
        point: float64[3], where the grip site will be. turn: of the wrist. obstacles: all but the object.
        fingers: unit vector float64[2] of the finger axis, and the distances float64[N] from ``point`` along it that
            open fingers cover. destination: float64[2], where the grip site will let go.
    """
    axis, distances = fingers
    centres, radii = _gripper_spheres(point, np.array([*axis, 0.0]), distances)
    gaps = obstacles.distances(centres) - radii
    deficit = float(np.maximum(CLEARANCE - gaps, 0.0).sum())
    base = state.base_pos
    limit = min(COMFORTABLE_REACH, max_reach(float(point[2] - base[2])) - 0.03)
    strain = sum(max(0.0, float(np.linalg.norm(place - base[:2])) - limit) for place in (point[:2], destination))
    way = float(np.linalg.norm(point - state.eef_pos))
    return CLEARANCE_WEIGHT * deficit + TURN_WEIGHT * abs(turn) + DISTANCE_WEIGHT * way + REACH_WEIGHT * strain


def _gripper_spheres(
    point: NDArray[np.float64], axis: NDArray[np.float64], distances: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Open fingers (each distance at 4 heights) and hand (9 places) as spheres: centres [N, 3], radii [N]."""
    up = np.array([0.0, 0.0, 1.0])
    finger = [point + r * axis + h * up for r in distances for h in np.linspace(0, 0.06, 4)]
    hand = [point + r * axis + HAND_ABOVE_TIPS * up for r in np.linspace(-0.10, 0.10, 9)]
    radii = np.array([FINGER_SPHERE] * len(finger) + [HAND_SPHERE] * len(hand))
    return np.array(finger + hand), radii
