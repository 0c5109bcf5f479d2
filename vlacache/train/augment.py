"""Cheap picture augmentation on uint8: a shift and a colour table, both drawn from the generator of the batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlacache.train.config import TrainConfig


@dataclass(frozen=True, slots=True)
class Jitter:
    """What happens to one picture.

    Attributes:
        dx, dy: the content moves left and up by so many pixels; the border is repeated.
        table: uint8[3, 256] new value of each value, per channel.
    """

    dx: int
    dy: int
    table: NDArray[np.uint8]


def draw_jitter(config: TrainConfig, rng: np.random.Generator) -> Jitter:
    """A random shift, brightness, contrast and channel gain."""
    dx, dy = rng.integers(-config.shift_pixels, config.shift_pixels + 1, size=2)
    bright, contrast = 1.0 + rng.uniform(-1.0, 1.0, size=2) * (config.brightness, config.contrast)
    gain = bright * (1.0 + rng.uniform(-config.colour, config.colour, size=3))
    values = np.arange(256.0)
    table = ((values - 128.0) * contrast + 128.0) * gain[:, None]
    return Jitter(int(dx), int(dy), np.clip(np.rint(table), 0, 255).astype(np.uint8))


def patches(picture: NDArray[np.uint8], kept: NDArray[np.int64], patch_size: int, jitter: Jitter) -> NDArray[np.uint8]:
    """Kept patches of a jittered picture: uint8[S, S, 3], int64[K] row-major -> uint8[K, 3 * p * p], channel-major."""
    size = len(picture)
    grid = size // patch_size
    if jitter.dx or jitter.dy:
        at = np.arange(size)
        picture = picture[np.clip(at + jitter.dy, 0, size - 1)][:, np.clip(at + jitter.dx, 0, size - 1)]
    tiles = picture.reshape(grid, patch_size, grid, patch_size, 3).transpose(0, 2, 4, 1, 3)
    chosen = tiles[kept // grid, kept % grid].reshape(len(kept), 3, -1)
    out = np.empty_like(chosen)
    for channel in range(3):
        np.take(jitter.table[channel], chosen[:, channel], out=out[:, channel])
    return out.reshape(len(kept), -1)
