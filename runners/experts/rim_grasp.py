"""Where to seize a bowl by its rim: one finger inside, one outside. Metres and radians, world frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runners.envs.libero_state import LiberoState
from runners.experts.reach import Obstacles, max_reach

RIM_RADIUS = 0.0505  # middle of the wall at the height where the fingers close
RIM_HEIGHT = 0.052  # above the bowl's origin
GRASP_HEIGHT = 0.035  # of the grip site above the bowl's origin when the fingers close

NUM_ANGLES = 24
MAX_TURN = math.radians(92)
CLEARANCE = 0.006
COMFORTABLE_REACH = 0.73
FINGER_SPHERE, HAND_SPHERE = 0.008, 0.034
HAND_ABOVE_TIPS = 0.078

CLEARANCE_WEIGHT, TURN_WEIGHT, DISTANCE_WEIGHT, REACH_WEIGHT = 150.0, 0.5, 0.3, 50.0


@dataclass(frozen=True, slots=True)
class RimGrasp:
    """``offset``: float64[2], rim point minus bowl origin. ``yaw``: direction of the finger axis."""

    offset: NDArray[np.float64]
    yaw: float


def choose_rim_grasp(state: LiberoState, bowl: str, plate: str) -> RimGrasp:
    """The cheapest of ``NUM_ANGLES`` rim points: clear of obstacles, little turn, near, within reach here and there.

    Args:
        state: live state. bowl, plate: instance names; the bowl is carried to the plate.

    Raises:
        RuntimeError: no rim point can be had with a turn below ``MAX_TURN`` (the hand is far from its start pose).
    """
    obstacles = Obstacles.of(state, without=(bowl,))
    fingers = state.eef_rotation[:, 0]
    yaw_now = math.atan2(fingers[1], fingers[0])
    best: tuple[float, RimGrasp] | None = None
    for angle in np.arange(NUM_ANGLES) * (2 * math.pi / NUM_ANGLES):
        turn = min((_wrap(angle + flip - yaw_now) for flip in (0.0, math.pi)), key=abs)
        if abs(turn) > MAX_TURN:
            continue
        outward = np.array([math.cos(angle), math.sin(angle)])
        grasp = RimGrasp(offset=RIM_RADIUS * outward, yaw=yaw_now + turn)
        cost = _cost(state, obstacles, grasp, outward, turn, state.object_pos(bowl), state.object_pos(plate))
        if best is None or cost < best[0]:
            best = (cost, grasp)
    if best is None:
        raise RuntimeError("no rim point within reach of the wrist; was the episode reset?")
    return best[1]


def _cost(
    state: LiberoState,
    obstacles: Obstacles,
    grasp: RimGrasp,
    outward: NDArray[np.float64],
    turn: float,
    bowl: NDArray[np.float64],
    plate: NDArray[np.float64],
) -> float:
    point = np.array([*(bowl[:2] + grasp.offset), bowl[2] + GRASP_HEIGHT])
    centres, radii = _gripper_spheres(point, outward)
    gaps = obstacles.distances(centres) - radii
    deficit = float(np.maximum(CLEARANCE - gaps, 0.0).sum())
    limit = min(COMFORTABLE_REACH, max_reach(float(point[2])) - 0.03)
    base = state.base_pos[:2]
    strain = sum(
        max(0.0, float(np.linalg.norm(place + grasp.offset - base)) - limit) for place in (bowl[:2], plate[:2])
    )
    way = float(np.linalg.norm(point - state.eef_pos))
    return CLEARANCE_WEIGHT * deficit + TURN_WEIGHT * abs(turn) + DISTANCE_WEIGHT * way + REACH_WEIGHT * strain


def _gripper_spheres(point: NDArray[np.float64], outward: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Open outer finger (4 distances x 4 heights) and hand (9 places) as spheres: centres [25, 3], radii [25]."""
    direction = np.array([*outward, 0.0])
    up = np.array([0.0, 0.0, 1.0])
    finger = [point + r * direction + h * up for r in np.linspace(0.018, 0.062, 4) for h in np.linspace(0, 0.06, 4)]
    hand = [point + r * direction + HAND_ABOVE_TIPS * up for r in np.linspace(-0.10, 0.10, 9)]
    radii = np.array([FINGER_SPHERE] * len(finger) + [HAND_SPHERE] * len(hand))
    return np.array(finger + hand), radii


def _wrap(angle: float) -> float:
    """Angle in [-pi, pi)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi
