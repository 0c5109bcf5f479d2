"""Intervals and tests, each a pure function of counts or calls. No data gives None, never 0.

Sources: Wilson 1927; McNemar exact (binomial on the discordant pairs); Tango 1998, Statistics in Medicine 17:891
(score interval of a paired difference, the one that inverts McNemar's score test).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

LEVEL = 0.95
BOOTSTRAP_RESAMPLES = 2000
BOOTSTRAP_SEED = 0
#: Below this many pairs a bootstrap over pairs says nothing, so no interval is given.
BOOTSTRAP_MIN_PAIRS = 5


class Interval(NamedTuple):
    """A two-sided confidence interval."""

    low: float
    high: float


class PairCounts(NamedTuple):
    """The paired 2x2 table: pairs in which both, one or neither arm succeeded."""

    both: int
    only_policy: int
    only_baseline: int
    neither: int

    @property
    def total(self) -> int:
        """All scored pairs."""
        return sum(self)


def wilson_interval(successes: int, trials: int, level: float = LEVEL) -> Interval | None:
    """Wilson score interval of a proportion; None without trials."""
    if not 0 <= successes <= trials:
        raise ValueError(f"successes: expected 0 .. trials = {trials}, got {successes}")
    if trials == 0:
        return None
    low, high = proportion_confint(successes, trials, alpha=1.0 - level, method="wilson")
    return Interval(max(0.0, float(low)), min(1.0, float(high)))


def mcnemar_p(counts: PairCounts) -> float | None:
    """Two-sided exact McNemar p-value; 1 when no pair is discordant, None without pairs."""
    if counts.total == 0:
        return None
    if counts.only_policy + counts.only_baseline == 0:
        return 1.0
    table = [[counts.both, counts.only_policy], [counts.only_baseline, counts.neither]]
    return float(mcnemar(table, exact=True).pvalue)


def paired_difference(counts: PairCounts) -> float | None:
    """Success rate of the policy minus that of the baseline over the same pairs."""
    if counts.total == 0:
        return None
    return (counts.only_policy - counts.only_baseline) / counts.total


def paired_difference_interval(counts: PairCounts, level: float = LEVEL) -> Interval | None:
    """Tango's score interval of ``paired_difference``; it excludes 0 exactly when McNemar's score test rejects."""
    b, c, n = counts.only_policy, counts.only_baseline, counts.total
    if n == 0:
        return None
    z2 = float(norm.ppf(0.5 + level / 2.0)) ** 2
    if b + c == 0:
        half = z2 / (n + z2)  # the score equation has this closed form without discordant pairs
        return Interval(-half, half)
    if n in (b, c):  # every pair lost, or every pair won: the estimate is itself a root, the other limit this one
        other = (n - z2) / (n + z2)
        return Interval(-1.0, -other) if c == n else Interval(other, 1.0)

    def excess(delta: float) -> float:
        """Squared score minus its critical value; its roots are the limits."""
        beta = -b - c + (2 * n - b + c) * delta
        gamma = -c * delta * (1.0 - delta)
        only_baseline = (math.sqrt(max(0.0, beta * beta - 8.0 * n * gamma)) - beta) / (4.0 * n)
        return (b - c - n * delta) ** 2 - z2 * n * (2.0 * only_baseline + delta * (1.0 - delta))

    estimate = (b - c) / n
    low = float(brentq(excess, -1.0, estimate, xtol=1e-15))
    high = float(brentq(excess, estimate, 1.0, xtol=1e-15))
    return Interval(low, high)


def paired_difference_limits(counts: PairCounts, level: float = LEVEL) -> Interval | None:
    """One-sided limits of ``paired_difference``, each by itself at ``level``: Tango's interval at 2 level - 1."""
    return paired_difference_interval(counts, 2.0 * level - 1.0)


def ratio_of_medians(baseline: Sequence[NDArray[np.float64]], policy: Sequence[NDArray[np.float64]]) -> float | None:
    """Median of all baseline values / median of all policy values: above 1 the policy is faster.

    Args:
        baseline, policy: per pair, the values of its calls in that arm.
    """
    top, bottom = _pooled_median(baseline), _pooled_median(policy)
    if top is None or bottom is None or bottom == 0.0 or top == 0.0:
        return None
    return top / bottom


def ratio_of_means(baseline: Sequence[NDArray[np.float64]], policy: Sequence[NDArray[np.float64]]) -> float | None:
    """Mean of all baseline values / mean of all policy values: above 1 the policy is faster.

    Every call has its weight in time, so the rare slow ones (cold, refresh, dense fallback) count; a median drops them.

    Args:
        baseline, policy: per pair, the values of its calls in that arm.
    """
    top, bottom = _sums_and_counts(baseline), _sums_and_counts(policy)
    if 0.0 in (top.sums.sum(), bottom.sums.sum()):
        return None
    return float((top.sums.sum() / top.counts.sum()) / (bottom.sums.sum() / bottom.counts.sum()))


def bootstrap_ratio_of_means(
    baseline: Sequence[NDArray[np.float64]],
    policy: Sequence[NDArray[np.float64]],
    *,
    level: float = LEVEL,
    resamples: int = BOOTSTRAP_RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
) -> Interval | None:
    """Percentile bootstrap of ``ratio_of_means`` that draws pairs, so both arms of an episode stay together."""
    if len(baseline) != len(policy):
        raise ValueError(f"pairs: expected as many baseline as policy episodes, got {len(baseline)} and {len(policy)}")
    if len(policy) < BOOTSTRAP_MIN_PAIRS or ratio_of_means(baseline, policy) is None:
        return None
    drawn = np.random.default_rng(seed).integers(len(policy), size=(resamples, len(policy)))
    top, bottom = (
        arm.sums[drawn].sum(axis=1) / arm.counts[drawn].sum(axis=1)
        for arm in (_sums_and_counts(baseline), _sums_and_counts(policy))
    )
    tail = 100.0 * (1.0 - level) / 2.0
    low, high = np.percentile(top / bottom, [tail, 100.0 - tail])
    return Interval(float(low), float(high))


def _pooled_median(groups: Sequence[NDArray[np.float64]]) -> float | None:
    values = np.concatenate(groups) if len(groups) > 0 else np.empty(0)
    return None if values.size == 0 else float(np.median(values))


class _Totals(NamedTuple):
    """Sum and number of the values of each pair in one arm."""

    sums: NDArray[np.float64]
    counts: NDArray[np.int64]


def _sums_and_counts(groups: Sequence[NDArray[np.float64]]) -> _Totals:
    sums = np.array([group.sum() for group in groups], dtype=np.float64)
    return _Totals(sums, np.array([group.size for group in groups], dtype=np.int64))
