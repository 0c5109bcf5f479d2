"""How the robot moves while it executes a chunk: slowly or with the gripper where precision counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Motion:
    """What the last executed actions tell about the phase of the task.

    Attributes:
        speed: mean length of the translation commands, each axis in half ranges of the training data (1 = full speed
            along one axis). grips: the gripper's command changed.
    """

    speed: float
    grips: bool


class MotionMeter:
    """Reads ``Motion`` off the actions of an episode.

    Args:
        low, high: of every action entry in executed units, as in the checkpoint's statistics.
    """

    def __init__(self, low: Sequence[float], high: Sequence[float]) -> None:
        half = (np.asarray(high[:3], dtype=np.float64) - np.asarray(low[:3], dtype=np.float64)) / 2
        self._half_range = np.where(half > 0, half, 1.0)
        self.reset()

    def reset(self) -> None:
        """Forget the episode."""
        self._grip: float | None = None

    def measure(self, executed: NDArray[np.floating]) -> Motion:
        """Of the actions that are going to be executed, [T, dim]: translation first, gripper last.

        A change from the last chunk's final gripper command to the first one of these counts.
        """
        speed = float(np.linalg.norm(executed[:, :3] / self._half_range, axis=1).mean())
        grips = np.sign(executed[:, -1])
        before = grips[0] if self._grip is None else self._grip
        self._grip = float(grips[-1])
        return Motion(speed, bool((grips != before).any()))
