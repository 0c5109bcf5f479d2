"""What the robot was doing at each step of a record, from its gripper and the height of its hand.

LIBERO's proprio only (hand position 0..2 in m, finger joints 6, 7 in m). Opening: the distance between the fingers.

- ``approach``: the gripper is open, until its opening has fallen by 10 mm below the widest so far.
- ``grasp``: from there until the hand is 20 mm above the height at which the closing began.
- ``carry``: from there until the last step within 10 mm of the greatest height while the gripper stays closed.
- ``place``: the descent after that, until the gripper opens by 10 mm, or the record ends. Then ``approach`` again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PHASES = ("approach", "grasp", "carry", "place")
#: LIBERO's proprio: position 3, axis-angle 3, finger joints 2.
PROPRIO_SIZE, HEIGHT, FINGERS = 8, 2, (6, 7)
GRIPPER_MOVE_M, LIFT_M, PEAK_M = 0.010, 0.020, 0.010


def phases_of(proprio: NDArray[np.float32]) -> list[str] | None:
    """Phase of every step; None for a record whose proprio is not LIBERO's.

    Args:
        proprio: float32[T, S].
    """
    if proprio.ndim != 2 or proprio.shape[1] != PROPRIO_SIZE:
        return None
    opening = proprio[:, FINGERS[0]] - proprio[:, FINGERS[1]]
    phases: list[str] = []
    while len(phases) < len(proprio):
        start = len(phases)
        closing = start + first_true(np.maximum.accumulate(opening[start:]) - opening[start:] >= GRIPPER_MOVE_M)
        phases += ["approach"] * (closing - start)
        held = opening[closing:]
        release = closing + first_true(held - np.minimum.accumulate(held) >= GRIPPER_MOVE_M)
        phases += _held_phases(proprio[closing:release, HEIGHT])
    return phases


def _held_phases(height: NDArray[np.float32]) -> list[str]:
    """Grasp, carry and place while the gripper is closed."""
    if height.size == 0:
        return []
    lifted = first_true(height >= height[0] + LIFT_M)
    after = height[lifted:]
    if after.size == 0:
        return ["grasp"] * lifted
    carried = int(np.flatnonzero(after >= after.max() - PEAK_M)[-1]) + 1
    return ["grasp"] * lifted + ["carry"] * carried + ["place"] * (after.size - carried)


def first_true(mask: NDArray[np.bool_]) -> int:
    """Index of the first True; the length where there is none."""
    found = np.flatnonzero(mask)
    return int(found[0]) if found.size else int(mask.size)
