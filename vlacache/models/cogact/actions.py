"""What CogACT does to a sampled chunk before it is de-normalised."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vlacache.models.robots import GRIPPER


def clip_and_binarize(samples: NDArray[np.floating]) -> NDArray[np.floating]:
    """Clip to [-1, 1] and set the gripper entry to 0 (closed, below one half) or 1: [..., 7] -> same, dtype too."""
    actions = np.clip(samples, -1.0, 1.0)
    actions[..., GRIPPER] = np.where(actions[..., GRIPPER] < 0.5, 0.0, 1.0)
    return actions
