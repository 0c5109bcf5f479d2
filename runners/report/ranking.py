"""SIMPLER's two measures of how well one set of success rates predicts another's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Added to the denominator of the correlation, as SIMPLER does.
EPSILON = 1e-8


def mean_maximum_rank_violation(sim: Sequence[float], real: Sequence[float]) -> float:
    """MMRV: the largest real difference that a policy's rank in ``sim`` gets wrong, mean over the policies. 0 is best.

    Args:
        sim, real: success rates of the same policies, in the same order. For a cache: with it, and without it.

    Raises:
        ValueError: the lengths differ, or there are none.
    """
    simulated, measured = _checked(sim, real)
    wrong = (simulated[:, None] > simulated) != (measured[:, None] > measured)
    gaps = np.abs(measured[:, None] - measured)
    return float(np.where(wrong, gaps, 0.0).max(axis=1).mean())


def pearson_correlation(sim: Sequence[float], real: Sequence[float]) -> float:
    """Correlation of the two; 1 where the centred rates are identical, constant ones included.

    Raises:
        ValueError: the lengths differ, or there are none.
    """
    simulated, measured = (values - values.mean() for values in _checked(sim, real))
    if np.array_equal(simulated, measured):
        return 1.0
    length = float(np.sqrt((simulated**2).sum() * (measured**2).sum()))
    return float((simulated * measured).sum() / (length + EPSILON))


def _checked(sim: Sequence[float], real: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(sim) != len(real) or len(sim) == 0:
        raise ValueError(f"success rates: expected as many of both, at least one, got {len(sim)} and {len(real)}")
    return np.asarray(sim, dtype=np.float64), np.asarray(real, dtype=np.float64)
