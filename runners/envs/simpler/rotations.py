"""Rotations between the forms that SIMPLER uses. Quaternions are wxyz."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


def quaternion_of(rotation_vector: NDArray[np.floating]) -> NDArray[np.float64]:
    """Axis times angle (rad) float[3] -> float64[4]."""
    return Rotation.from_rotvec(np.asarray(rotation_vector, dtype=np.float64)).as_quat(scalar_first=True)


def matrix_of(quaternion: NDArray[np.floating]) -> NDArray[np.float64]:
    """float[4] -> float64[3, 3]."""
    return Rotation.from_quat(np.asarray(quaternion, dtype=np.float64), scalar_first=True).as_matrix()


def quaternion_from_euler(roll: float, pitch: float, yaw: float) -> Quaternion:
    """Rotations (rad) about the fixed axes x, y, z in this order."""
    w, x, y, z = Rotation.from_euler("xyz", [roll, pitch, yaw]).as_quat(scalar_first=True)
    return (float(w), float(x), float(y), float(z))
