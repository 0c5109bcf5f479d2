"""When a WidowX task counts as done, by the original's rules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Source and target: m that count as moved; m beyond the target's half diagonal.
MOVED, MARGIN = 0.03, 0.003
#: Steps in a row that count as a held grasp.
HELD_STEPS = 5


@dataclass(frozen=True, slots=True)
class BridgeFlags:
    """The state of a task after one control step; ``success`` is the only one that decides."""

    moved_correct_obj: bool = False
    moved_wrong_obj: bool = False
    is_src_obj_grasped: bool = False
    consecutive_grasp: bool = False
    src_on_target: bool = False

    @property
    def success(self) -> bool:
        """The source is on the target."""
        return self.src_on_target


def is_on(
    source: NDArray[np.float64],
    target: NDArray[np.float64],
    source_box: NDArray[np.float64],
    target_box: NDArray[np.float64],
    max_gap: float,
) -> bool:
    """Whether the source lies above the target and close to it.

    Args:
        source, target: centres of mass float64[3], m.
        source_box, target_box: settled rotation times full extents, float64[3]. Entries may be negative: upstream
            rotates the vector of extents, not the box.
        max_gap: m between the boxes.
    """
    offset = source - target
    near = np.linalg.norm(offset[:2]) <= np.linalg.norm(target_box[:2] / 2) + MARGIN
    gap = offset[2] - target_box[2] / 2 - source_box[2] / 2
    return bool(near and offset[2] > 0 and gap <= max_gap)


def moved(source_distance: float, other_distances: list[float]) -> tuple[bool, bool]:
    """(the source moved most, something else moved more), from horizontal ways in m."""
    correct = source_distance > MOVED and all(other < source_distance for other in other_distances)
    wrong = any(d > MOVED for d in other_distances) and any(d > source_distance for d in other_distances)
    return correct, wrong
