"""Conventions shared by the simulator adapters, as pure functions of numpy arrays."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def rotate_180(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn a picture by half a turn: both image axes reversed.

    The LIBERO reference scripts apply this to robosuite's ``<camera>_image``; models were trained on the result.

    Args:
        image: uint8[H, W, 3].

    Returns:
        A contiguous copy uint8[H, W, 3].
    """
    return np.ascontiguousarray(image[::-1, ::-1])


def quat_xyzw_to_axis_angle(quat_xyzw: NDArray[np.floating]) -> NDArray[np.float64]:
    """Axis-angle vector (rad) of a quaternion, by robosuite's formula.

    Deliberately without folding ``q`` and ``-q`` together: angles run up to 2 pi, and the state of the published OFT
    checkpoints has exactly this form. (Folding costs 14 to 40 points of success there.)

    Args:
        quat_xyzw: float[4] unit quaternion, scalar last.
    """
    quat = np.asarray(quat_xyzw, dtype=np.float64)
    if quat.shape != (4,):
        raise ValueError(f"quat_xyzw: expected shape (4,), got {quat.shape}")
    w = min(1.0, max(-1.0, float(quat[3])))
    sin_half = math.sqrt(1.0 - w * w)
    if math.isclose(sin_half, 0.0):
        return np.zeros(3)
    return quat[:3] * (2.0 * math.acos(w) / sin_half)
