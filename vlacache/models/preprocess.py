"""From an observation to tensors. Resizing belongs to the model, so that every simulator renders one size."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vlacache.types import Observation


def frames_from_observation(observation: Observation, views: tuple[str, ...], image_size: int) -> Tensor:
    """Stack the model's views and resize them (bilinear, antialiased).

    Returns:
        uint8[V, 3, image_size, image_size] on the CPU.

    Raises:
        ValueError: a missing camera, a picture that is not uint8[H, W, 3], or views of different size.
    """
    pictures = []
    for view in views:
        if view not in observation.images:
            raise ValueError(f"observation: expected a picture of camera {view!r}, got {sorted(observation.images)}")
        picture = observation.images[view]
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"picture of {view!r}: expected uint8[H, W, 3], got {picture.dtype}{list(picture.shape)}")
        pictures.append(torch.from_numpy(np.ascontiguousarray(picture)))
    if len({p.shape for p in pictures}) > 1:
        raise ValueError(f"observation: expected views of one size, got {[tuple(p.shape) for p in pictures]}")
    frames = torch.stack(pictures).permute(0, 3, 1, 2)
    if frames.shape[-2:] == (image_size, image_size):
        return frames
    return F.interpolate(frames, size=(image_size, image_size), mode="bilinear", antialias=True)


def proprio_from_observation(observation: Observation, proprio_dim: int) -> Tensor:
    """float32[S] on the CPU.

    Raises:
        ValueError: no proprio, a wrong size, or numbers that are not finite.
    """
    values = observation.proprio
    if values is None or values.shape != (proprio_dim,):
        got = "None" if values is None else f"shape {values.shape}"
        raise ValueError(f"proprio: expected float32[{proprio_dim}], got {got}; this model needs the robot's state")
    if not np.all(np.isfinite(values)):
        raise ValueError(f"proprio: expected finite numbers, got {values.tolist()}")
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
