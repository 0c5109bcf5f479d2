"""Disturbance of executed actions, so that demonstrations show how to come back.

DART (Laskey et al., 2017): the noisy action is executed, the expert's own is the label. The noise is correlated in
time, as a policy's errors are: white noise averages out within a few steps and the hand never leaves the expert's way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class NoiseSettings:
    """How strongly to disturb.

    Attributes:
        translation, rotation: the largest standard deviation of a demo, in action units; each demo draws its own
            share of them, uniformly in [0, 1].
        memory: correlation of neighbouring steps, 0 .. 1.
    """

    translation: float = 0.5
    rotation: float = 0.15
    memory: float = 0.8

    def __post_init__(self) -> None:
        sizes = (self.translation, self.rotation)
        if not all(math.isfinite(size) and size >= 0 for size in sizes) or not 0 <= self.memory < 1:
            raise ValueError(f"noise: expected sizes >= 0 and a memory in [0, 1), got {self}")


class ActionNoise:
    """Autoregressive Gaussian noise of one demo. The gripper is left alone: it has no small errors."""

    def __init__(self, settings: NoiseSettings, rng: np.random.Generator) -> None:
        scale = rng.random()
        self._sigma = scale * np.array([settings.translation] * 3 + [settings.rotation] * 3)
        self._memory = settings.memory
        self._rng = rng
        self._state = self._sigma * rng.standard_normal(6)

    def disturb(self, action: NDArray[np.float64]) -> NDArray[np.float64]:
        """The action float64[7] to execute in place of ``action``, within the bounds [-1, 1]."""
        fresh = np.sqrt(1.0 - self._memory**2) * self._sigma * self._rng.standard_normal(6)
        self._state = self._memory * self._state + fresh
        noisy = action.copy()
        noisy[:6] = np.clip(action[:6] + self._state, -1.0, 1.0)
        return noisy
