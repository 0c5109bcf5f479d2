"""Where to seize a can, a box or a bottle: from above, one finger on each side. Metres and radians, world frame."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from runners.envs.libero_state import LiberoState
from runners.experts.grasp import Grasp, grasp_cost, smallest_turn
from runners.experts.hand import finger_yaw
from runners.experts.reach import Obstacles

NUM_ANGLES = 24  # over half a turn: the fingers are alike
MAX_WIDTH = 0.074  # the fingers open to 0.08
DEPTH = 0.028  # of the grip site below the top; the palm is some 4 cm above the grip site
MAX_DEPTH_SHARE = 0.55  # of the height, for flat things
SLAB = 0.008  # half height of the part that the finger pads touch
APPROACH_HEIGHT = 0.10  # above the top
TRAVEL_CLEARANCE, TRAVEL_WIDTH = 0.03, 0.06  # on the way to the object
OPEN_FINGERS = np.array([-0.056, -0.048, 0.048, 0.056])  # what both open fingers cover
WIDTH_WEIGHT = 40.0


def choose_squeeze_grasp(state: LiberoState, name: str, destination: NDArray[np.float64]) -> Grasp:
    """The cheapest of ``NUM_ANGLES`` directions: narrow, clear of obstacles, little turn, within reach.

    Args:
        state: live state. name: instance name. destination: float64[3], where its origin will be let go.

    Raises:
        RuntimeError: the object is wider than the open fingers in every direction.
    """
    own, obstacles = Obstacles.of_object(state, name), Obstacles.of(state, without=(name,))
    corners = own.corners()
    bottom, top = float(corners[..., 2].min()), float(corners[..., 2].max())
    height = top - min(DEPTH, MAX_DEPTH_SHARE * (top - bottom))
    touched = (corners[..., 2].min(axis=1) < height + SLAB) & (corners[..., 2].max(axis=1) > height - SLAB)
    slab = corners[touched].reshape(-1, 3)[:, :2]
    origin = state.object_pos(name)
    best: tuple[float, NDArray[np.float64], float] | None = None
    for angle in np.arange(NUM_ANGLES) * (math.pi / NUM_ANGLES):
        axis = np.array([math.cos(angle), math.sin(angle)])
        across = np.array([-axis[1], axis[0]])
        along_axis, along_side = slab @ axis, slab @ across
        width = float(np.ptp(along_axis))
        turn = smallest_turn(state, angle)
        if width > MAX_WIDTH or turn is None:
            continue
        middle = axis * (along_axis.min() + width / 2) + across * (along_side.min() + np.ptp(along_side) / 2)
        point = np.array([*middle, height])
        let_go = destination[:2] + point[:2] - origin[:2]
        cost = grasp_cost(state, obstacles, point, turn, (axis, OPEN_FINGERS), let_go) + WIDTH_WEIGHT * width
        if best is None or cost < best[0]:
            best = (cost, point, finger_yaw(state) + turn)
    if best is None:
        raise RuntimeError(f"{name} is wider than the open fingers ({MAX_WIDTH} m) in every direction")
    _, point, yaw = best
    in_the_way = obstacles.top_along(state.eef_pos, point, TRAVEL_WIDTH)
    approach = max(top + APPROACH_HEIGHT, in_the_way + TRAVEL_CLEARANCE) - height
    return Grasp(point - origin, yaw, approach, hang=height - bottom)
