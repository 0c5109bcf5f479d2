"""Adaptive action ensemble: what the last calls predicted for now, weighted by likeness to the newest prediction."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray


class AdaptiveEnsemble:
    """Averages the overlapping predictions of the last chunks (CogACT).

    A chunk made ``k`` env steps ago predicts the current step in its entry ``k``. Weights are proportional to
    ``exp(alpha cos(p_k, p_0))``, the cosine over all entries of an action. It needs one call per env step.

    Args:
        horizon: chunks kept, the newest included. alpha: 0 averages, larger prefers predictions like the newest.

    Raises:
        ValueError: a horizon below 1.
    """

    def __init__(self, horizon: int, alpha: float = 0.1) -> None:
        if horizon < 1:
            raise ValueError(f"ensemble horizon: expected at least 1, got {horizon}")
        self._alpha = alpha
        self._chunks: deque[NDArray[np.float64]] = deque(maxlen=horizon)

    def reset(self) -> None:
        """Forget the chunks."""
        self._chunks.clear()

    def add(self, chunk: NDArray[np.floating]) -> NDArray[np.float64]:
        """Take the chunk [T, dim] of this env step and return this step's action, float64[dim].

        Raises:
            ValueError: a chunk shorter than the horizon.
        """
        horizon = self._chunks.maxlen
        if horizon is not None and len(chunk) < horizon:
            raise ValueError(f"ensemble: expected chunks of at least {horizon} actions, got {len(chunk)}")
        self._chunks.appendleft(np.asarray(chunk, np.float64))
        predictions = np.stack([old[age] for age, old in enumerate(self._chunks)])
        newest = predictions[0]
        norms = np.linalg.norm(predictions, axis=1) * np.linalg.norm(newest)
        weights = np.exp(self._alpha * (predictions @ newest) / (norms + 1e-7))
        return (weights / weights.sum()) @ predictions
