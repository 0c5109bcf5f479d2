"""Formulas against naive definitions and published values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runners.report import stats
from runners.report.stats import PairCounts

COUNTS = st.builds(PairCounts, *[st.integers(0, 40)] * 4)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3 (Wilson without continuity correction).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_agrees_with_published_intervals(successes: int, trials: int, low: float, high: float) -> None:
    interval = stats.wilson_interval(successes, trials)
    assert interval is not None
    assert [round(x, 4) for x in interval] == [low, high]


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_the_closed_form(pair: tuple[int, int]) -> None:
    successes, n = pair
    z = 1.959963984540054
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    interval = stats.wilson_interval(successes, n)
    assert interval == pytest.approx((max(0.0, middle - half), min(1.0, middle + half)), abs=1e-12)


def test_wilson_of_nothing_is_no_interval() -> None:
    assert stats.wilson_interval(0, 0) is None
    with pytest.raises(ValueError, match=r"successes: expected 0 .. trials = 3, got 4"):
        stats.wilson_interval(4, 3)


@given(COUNTS)
def test_mcnemar_is_the_two_sided_binomial_tail(counts: PairCounts) -> None:
    b, c = counts.only_policy, counts.only_baseline
    if counts.total == 0:
        assert stats.mcnemar_p(counts) is None
        return
    tail = sum(math.comb(b + c, i) for i in range(min(b, c) + 1)) / 2 ** (b + c)
    assert stats.mcnemar_p(counts) == pytest.approx(min(1.0, 2 * tail), abs=1e-12)


def test_mcnemar_and_tango_agree_with_published_example() -> None:
    # Data of Bentur et al. 2009 as analysed by Fagerland, Lydersen and Laake (2013, BMC Med Res Methodol 13:91, and
    # 2014, Stat Med 33:2850): exact conditional p = 0.0703, difference -0.286, Tango -0.517 to -0.026.
    counts = PairCounts(both=1, only_policy=1, only_baseline=7, neither=12)
    assert stats.mcnemar_p(counts) == pytest.approx(18 / 256, abs=1e-12)
    assert stats.paired_difference(counts) == pytest.approx(-6 / 21, abs=1e-12)
    interval = stats.paired_difference_interval(counts)
    assert interval is not None
    assert [round(x, 3) for x in interval] == [-0.517, -0.026]


@given(COUNTS)
@example(PairCounts(0, 0, 1, 0))
@example(PairCounts(0, 10, 0, 0))
def test_paired_interval_is_consistent(counts: PairCounts) -> None:
    """It holds the estimate, flips with the arms, and excludes 0 exactly when McNemar's score test rejects."""
    interval = stats.paired_difference_interval(counts)
    difference = stats.paired_difference(counts)
    if counts.total == 0:
        assert interval is None
        assert difference is None
        return
    assert interval is not None
    assert difference is not None
    assert -1.0 <= interval.low <= difference <= interval.high <= 1.0
    swapped = stats.paired_difference_interval(
        counts._replace(only_policy=counts.only_baseline, only_baseline=counts.only_policy)
    )
    assert swapped == pytest.approx((-interval.high, -interval.low), abs=1e-12)
    b, c = counts.only_policy, counts.only_baseline
    score = 0.0 if b + c == 0 else (b - c) ** 2 / (b + c)
    critical = 1.959963984540054**2
    if abs(score - critical) > 1e-6:
        assert (interval.low > 0 or interval.high < 0) == (score > critical)


@pytest.mark.parametrize("n", [1, 2, 10, 200])
def test_paired_interval_when_every_pair_is_lost(n: int) -> None:
    """The estimate -1 is a root of the score equation; the upper limit is the other one, not again -1."""
    interval = stats.paired_difference_interval(PairCounts(0, 0, n, 0))
    assert interval is not None and interval.low == -1.0
    # all n pairs in one cell: under a difference d the likeliest table has shares (1 - d) / 2 and (1 + d) / 2
    score = (-n - n * interval.high) / math.sqrt(n * (1 - interval.high**2))
    assert score == pytest.approx(-1.959963984540054, rel=1e-12)
    assert stats.paired_difference_interval(PairCounts(0, n, 0, 0)) == (-interval.high, 1.0)


def test_paired_interval_is_continuous_where_no_pair_is_discordant() -> None:
    """The closed form for b = c = 0 is the limit of the equation that holds elsewhere."""
    n, z2 = 20, 1.959963984540054**2
    interval = stats.paired_difference_interval(PairCounts(12, 0, 0, 8))
    assert interval is not None

    def score(delta: float) -> float:  # with b = c = 0 the constrained estimate of the rare cell is max(0, -delta)
        variance = n * (2 * max(0.0, -delta) + delta * (1 - delta))
        return (n * delta) ** 2 / variance

    assert score(interval.high) == pytest.approx(z2, abs=1e-9)
    assert score(interval.low) == pytest.approx(z2, abs=1e-9)


def _groups(rng: np.random.Generator, number: int, scale: float) -> list[np.ndarray]:
    return [scale * rng.lognormal(size=rng.integers(1, 6)) for _ in range(number)]


def test_bootstrap_equals_the_naive_one() -> None:
    rng = np.random.default_rng(3)
    baseline, policy = _groups(rng, 9, 2.0), _groups(rng, 9, 1.0)
    draws = np.random.default_rng(7)
    ratios = []
    for _ in range(200):
        chosen = draws.integers(9, size=9)
        top = np.mean(np.concatenate([baseline[i] for i in chosen]))
        ratios.append(top / np.mean(np.concatenate([policy[i] for i in chosen])))
    interval = stats.bootstrap_ratio_of_means(baseline, policy, resamples=200, seed=7)
    assert interval == pytest.approx(tuple(np.percentile(ratios, [2.5, 97.5])), abs=1e-12)


def test_bootstrap_keeps_both_arms_of_a_pair_together() -> None:
    """Pairs that differ much from each other but always by a factor of 2 leave no doubt about the ratio."""
    policy = [np.full(5, 1.5**i) for i in range(9)]
    interval = stats.bootstrap_ratio_of_means([2 * group for group in policy], policy)
    assert interval == pytest.approx((2.0, 2.0), abs=1e-12)


def test_bootstrap_covers_the_true_ratio() -> None:
    """95 % intervals of 200 made-up runs hold the true ratio in 90 to 99 % of them."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        baseline = [1.4 * rng.lognormal(sigma=0.3, size=8) for _ in range(25)]
        policy = [rng.lognormal(sigma=0.3, size=8) for _ in range(25)]
        interval = stats.bootstrap_ratio_of_means(baseline, policy, resamples=300)
        assert interval is not None
        hits += interval.low <= 1.4 <= interval.high
    assert 180 <= hits <= 198


def test_ratio_without_data_is_none() -> None:
    some = [np.ones(2)] * 6
    nothing = [np.zeros(2)] * 6
    for ratio in (stats.ratio_of_means, stats.ratio_of_medians):
        assert ratio([], []) is None
        assert ratio(some, nothing) is None  # an arm that timed no such stage
        assert ratio(nothing, some) is None
    assert stats.bootstrap_ratio_of_means(some[:4], some[:4]) is None  # too few pairs
    with pytest.raises(ValueError, match="as many baseline as policy episodes, got 6 and 5"):
        stats.bootstrap_ratio_of_means(some, some[:5])
