"""From where the hand should be to an action. Gains: 1.0 of an action is 5 cm or 0.5 rad of goal offset."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from runners.envs.libero_state import LiberoState

POSITION_GAIN, ROTATION_GAIN = 24.0, 6.0
OPEN, CLOSED = -1.0, 1.0
DOWN = np.array([0.0, 0.0, -1.0])


def pointing(direction: NDArray[np.float64], fingers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation float64[3, 3] of a hand that points along ``direction`` and closes along ``fingers``, unit vectors."""
    return np.stack([fingers, np.cross(direction, fingers), direction], axis=1)


def pointing_down(yaw: float) -> NDArray[np.float64]:
    """Rotation float64[3, 3] of a hand that points down and closes along ``yaw``, rad."""
    return pointing(DOWN, np.array([math.cos(yaw), math.sin(yaw), 0.0]))


def finger_yaw(state: LiberoState) -> float:
    """Direction along which the fingers close now, rad."""
    fingers = state.eef_rotation[:, 0]
    return math.atan2(fingers[1], fingers[0])


def rotation_error(state: LiberoState, wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Axis-angle float64[3] from the hand's rotation to the rotation ``wanted``."""
    return rotation_vector(wanted @ state.eef_rotation.T)


def hand_action(
    state: LiberoState,
    target: NDArray[np.float64],
    wanted: NDArray[np.float64],
    grip: float,
    *,
    speed: float = 1.0,
) -> NDArray[np.float64]:
    """Action float64[7] that moves the grip site to ``target`` (m) and turns the hand to the rotation ``wanted``.

    Args:
        state: live state. grip: ``OPEN`` or ``CLOSED``. speed: scales the horizontal motion.
    """
    move = np.clip((target - state.eef_pos) * POSITION_GAIN, -1.0, 1.0)
    move[:2] *= speed
    turn = np.clip(rotation_error(state, wanted) * ROTATION_GAIN, -1.0, 1.0)
    return np.array([*move, *turn, grip])


def rotation_vector(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Axis times angle of a rotation matrix, for angles below pi."""
    doubled_sine = np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    angle = math.acos(min(1.0, max(-1.0, (float(np.trace(rotation)) - 1.0) / 2.0)))
    size = float(np.linalg.norm(doubled_sine))
    return np.zeros(3) if size < 1e-9 else doubled_sine * (angle / size)


def wrap(angle: float) -> float:
    """Angle in [-pi, pi)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi
