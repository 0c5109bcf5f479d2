"""``model=blind``: a model that is shown plain colours in place of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vlacache.types import ActionChunk, Observation, Policy


class BlindPolicy:
    """Passes everything on to ``policy`` but the pictures, of which only the mean colour is left.

    Proprio and instruction stay: what such a policy still solves needs no eyes, and shows nothing about a cache of
    what eyes saw.
    """

    name = "blind"

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.weights = policy.weights
        self.action_spec = policy.action_spec
        self.cameras = policy.cameras
        self.num_open_loop_steps = policy.num_open_loop_steps

    def reset(self, seed: int) -> None:
        """Forget the last episode."""
        self._policy.reset(seed)

    def infer(self, observation: Observation) -> ActionChunk:
        """The policy's answer to plain colours."""
        return self._policy.infer(replace(observation, images=mean_colours(observation.images)))


def mean_colours(images: Mapping[str, NDArray[np.uint8]]) -> dict[str, NDArray[np.uint8]]:
    """Every picture uint8[H, W, 3] replaced by its mean colour, rounded."""
    return {
        name: np.broadcast_to(np.rint(image.mean(axis=(0, 1))).astype(np.uint8), image.shape).copy()
        for name, image in images.items()
    }
