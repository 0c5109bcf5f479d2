"""From the sampler's numbers to robot actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Entry of the gripper: 1 open, 0 closed.
GRIPPER = 6


@dataclass(frozen=True, eq=False)
class ActionStats:
    """Bounds of one data set's actions.

    Attributes:
        low, high: float64[dim], the 1 % and 99 % quantiles. mask: bool[dim]; false entries are not scaled.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mask: NDArray[np.bool_]

    @classmethod
    def from_statistics(cls, statistics: Mapping[str, Any], unnorm_key: str) -> ActionStats:
        """The ``action`` entry of a checkpoint's data set statistics; without a mask every entry is scaled.

        Raises:
            ValueError: an unknown key, or statistics without quantiles.
        """
        if unnorm_key not in statistics:
            raise ValueError(
                f"model.unnorm_key: the checkpoint has statistics for {sorted(statistics)}, got {unnorm_key!r}"
            )
        try:
            action = statistics[unnorm_key]["action"]
            low, high = (np.asarray(action[name], np.float64) for name in ("q01", "q99"))
        except (KeyError, TypeError) as error:
            raise ValueError(f"statistics of {unnorm_key!r}: expected action.q01 and action.q99 ({error})") from error
        mask = np.asarray(action.get("mask", np.ones(low.shape, bool)), bool)
        if low.ndim != 1 or not low.shape == high.shape == mask.shape:
            shapes = [low.shape, high.shape, mask.shape]
            raise ValueError(f"statistics of {unnorm_key!r}: expected q01, q99 and mask of one size, got {shapes}")
        return cls(low, high, mask)

    def unnormalize(self, actions: NDArray[np.floating]) -> NDArray[np.float64]:
        """[-1, 1] -> [low, high] where ``mask``, else unchanged: [..., dim] -> float64[..., dim].

        Raises:
            ValueError: actions of another size.
        """
        if np.shape(actions)[-1:] != self.low.shape:
            raise ValueError(f"actions: expected {self.low.size} entries, got shape {np.shape(actions)}")
        # The first product in the dtype of the actions (float32 from the sampler), as published: 3e-8 of a difference.
        scaled = 0.5 * (np.asarray(actions) + 1.0) * (self.high - self.low) + self.low
        return np.where(self.mask, scaled, actions)


def clip_and_binarize(samples: NDArray[np.floating]) -> NDArray[np.floating]:
    """Clip to [-1, 1] and set the gripper entry to 0 (below one half) or 1; the dtype stays.

    Raises:
        ValueError: numbers that are not finite.
    """
    if not np.all(np.isfinite(samples)):
        raise ValueError("CogACT actions: expected finite numbers, got NaN or infinity from the sampler")
    actions = np.clip(samples, -1.0, 1.0)
    actions[..., GRIPPER] = np.where(actions[..., GRIPPER] < 0.5, 0.0, 1.0)
    return actions
