"""Where to seize a round vessel by its rim: one finger inside, one outside. Metres and radians, world frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runners.envs.libero_state import LiberoState
from runners.experts.grasp import Grasp, grasp_cost, smallest_turn
from runners.experts.hand import finger_yaw
from runners.experts.reach import Obstacles

NUM_ANGLES = 24
APPROACH_HEIGHT = 0.10  # above the rim
OUTER_FINGER = np.linspace(0.018, 0.062, 4)  # what the open outer finger covers, from the rim outwards


@dataclass(frozen=True, slots=True)
class Rim:
    """Rim of a vessel around its origin.

    Attributes:
        radius: middle of the wall at the height where the fingers close. height: of the rim above the origin.
        grasp_height: of the grip site above the origin when the fingers close.
    """

    radius: float
    height: float
    grasp_height: float


BOWL_RIM = Rim(radius=0.0505, height=0.052, grasp_height=0.035)
PLATE_RIM = Rim(radius=0.0600, height=0.016, grasp_height=0.009)


def choose_rim_grasp(state: LiberoState, vessel: str, destination: NDArray[np.float64], rim: Rim = BOWL_RIM) -> Grasp:
    """The cheapest of ``NUM_ANGLES`` rim points: clear of obstacles, little turn, near, within reach here and there.

    Args:
        state: live state. vessel: instance name. destination: float64[3], where its origin will be let go.

    Raises:
        RuntimeError: no rim point can be had with a turn below ``MAX_TURN`` (the hand is far from its start pose).
    """
    obstacles = Obstacles.of(state, without=(vessel,))
    origin = state.object_pos(vessel)
    approach = rim.height + APPROACH_HEIGHT - rim.grasp_height
    best: tuple[float, Grasp] | None = None
    for angle in np.arange(NUM_ANGLES) * (2 * math.pi / NUM_ANGLES):
        if (turn := smallest_turn(state, angle)) is None:
            continue
        outward = np.array([math.cos(angle), math.sin(angle)])
        offset = np.array([*(rim.radius * outward), rim.grasp_height])
        let_go = destination[:2] + offset[:2]
        cost = grasp_cost(state, obstacles, origin + offset, turn, (outward, OUTER_FINGER), let_go)
        if best is None or cost < best[0]:
            best = (cost, Grasp(offset, finger_yaw(state) + turn, approach, hang=rim.grasp_height))
    if best is None:
        raise RuntimeError("no rim point within reach of the wrist; was the episode reset?")
    return best[1]
