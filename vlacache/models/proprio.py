"""The robot's state as a model reads it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vlacache.models.config import VLAConfig
from vlacache.models.heads import normalize
from vlacache.types import Observation

#: Entries of LIBERO's state that hold the rotation of the hand as an axis-angle (rad).
_ROTATION = slice(3, 6)


def proprio_from_observation(observation: Observation, proprio_dim: int) -> Tensor:
    """float32[S] on the CPU.

    Raises:
        ValueError: no proprio, a wrong size, or numbers that are not finite.
    """
    values = observation.proprio
    if not isinstance(values, np.ndarray) or values.shape != (proprio_dim,):
        got = f"shape {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise ValueError(f"proprio: expected float32[{proprio_dim}], got {got}; this model needs the robot's state")
    if not np.all(np.isfinite(values)):
        raise ValueError(f"proprio: expected finite numbers, got {values.tolist()}")
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def state_of(config: VLAConfig, proprio: Tensor) -> Tensor:
    """What the simulator reports [..., S], with the rotation as the model reads it; same dtype."""
    if config.proprio_rotation == "axis_angle":
        return proprio
    rotation = pointing_and_yaw(proprio[..., _ROTATION])
    return torch.cat([proprio[..., : _ROTATION.start], rotation, proprio[..., _ROTATION.stop :]], dim=-1)


def normalized_state(config: VLAConfig, proprio: Tensor) -> Tensor:
    """``state_of``, each entry from its range to [-1, 1]."""
    return normalize(state_of(config, proprio), config.proprio_low, config.proprio_high, config.proprio_mask)


def pointing_and_yaw(axis_angle: Tensor) -> Tensor:
    """Rotation of a hand that points down, in numbers that turn with it in proportion.

    An axis-angle of about pi hides a tilt: turned by a yaw, it moves in two entries at once, and what is left of the
    angle beyond pi is a small difference of their squares.

    Args:
        axis_angle: [..., 3] (rad).

    Returns:
        [..., 3], same dtype: x and y of the unit vector in which the hand points (0, 0 straight down, 0.1 for a tilt of
        0.1 rad), and its yaw (rad, in -pi .. pi, 0 where the hand's x axis lies along the world's).
    """
    vector = axis_angle.double()
    angle = vector.norm(dim=-1, keepdim=True)
    axis = vector / angle.clamp_min(1e-12)
    pointing, across = (_turn(axis, angle, column) for column in (2, 0))
    yaw = torch.atan2(across[..., 1], across[..., 0])
    return torch.stack([pointing[..., 0], pointing[..., 1], yaw], dim=-1).to(axis_angle.dtype)


def _turn(axis: Tensor, angle: Tensor, column: int) -> Tensor:
    """Column of the rotation matrix (Rodrigues): a unit vector of the world, turned."""
    unit = torch.zeros_like(axis)
    unit[..., column] = 1.0
    once = torch.linalg.cross(axis, unit)
    return unit + angle.sin() * once + (1.0 - angle.cos()) * torch.linalg.cross(axis, once)
