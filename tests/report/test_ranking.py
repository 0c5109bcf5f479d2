"""MMRV and Pearson on the nine tasks that SIMPLER publishes, and at their edges."""

from __future__ import annotations

import pytest

from runners.report.ranking import mean_maximum_rank_violation, pearson_correlation

#: Task -> (simulated, real) success rates of RT-2-X, RT-1 converged, 15 %, X, begin and Octo-base on the Google robot,
#: of RT-1-X, Octo-base and Octo-small on WidowX; then MMRV and correlation.
PUBLISHED = {
    "coke": ([0.787, 0.857, 0.710, 0.567, 0.027, 0.170], [0.907, 0.853, 0.920, 0.760, 0.133, 0.293], 0.031, 0.975),
    "near": ([0.779, 0.442, 0.354, 0.317, 0.050, 0.042], [0.733, 0.633, 0.583, 0.450, 0.017, 0.350], 0.111, 0.856),
    "open": ([0.157, 0.601, 0.463, 0.296, 0.000, 0.009], [0.333, 0.815, 0.704, 0.519, 0.000, 0.148], 0.000, 0.983),
    "close": ([0.343, 0.861, 0.667, 0.891, 0.278, 0.444], [0.630, 0.926, 0.889, 0.741, 0.000, 0.519], 0.123, 0.771),
    "apple": ([0.037, 0.065, 0.130, 0.213, 0.000, 0.000], [0.074, 0.185, 0.185, 0.407, 0.000, 0.000], 0.000, 0.969),
    "spoon": ([0.000, 0.125, 0.472], [0.000, 0.333, 0.417], 0.000, 0.827),
    "carrot": ([0.042, 0.083, 0.097], [0.000, 0.250, 0.083], 0.111, 0.571),
    "stack": ([0.000, 0.000, 0.042], [0.000, 0.000, 0.125], 0.000, 1.000),
    "eggplant": ([0.000, 0.431, 0.569], [0.000, 0.250, 0.400], 0.000, 0.989),
}


@pytest.mark.parametrize("task", PUBLISHED)
def test_published_tasks(task):
    sim, real, violation, correlation = PUBLISHED[task]
    assert mean_maximum_rank_violation(sim, real) == pytest.approx(violation, abs=6e-4)
    assert pearson_correlation(sim, real) == pytest.approx(correlation, abs=6e-4)


def test_equal_ranks_are_no_violation_and_equal_rates_correlate():
    assert mean_maximum_rank_violation([0.1, 0.2, 0.3], [0.5, 0.6, 0.9]) == 0
    assert pearson_correlation([0.4, 0.4], [0.7, 0.7]) == 1
    assert pearson_correlation([0.0, 1.0], [1.0, 0.0]) == pytest.approx(-1)


def test_different_lengths_are_refused():
    with pytest.raises(ValueError, match="3 and 2"):
        mean_maximum_rank_violation([1, 2, 3], [1, 2])
