"""Non-inferior only by the one-sided limit, from the planned number of pairs on, and where something can be lost."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runners.report.non_inferiority import MARGINS, Margin, judge_margin, parse_margin, summarize_non_inferiority
from runners.report.stats import PairCounts, paired_difference, paired_difference_interval, paired_difference_limits

FIVE, TWO = MARGINS
Z = 1.6448536269514722  # 95 % quantile of the normal distribution


def counts(lost: int, won: int, total: int, neither: int = 0) -> PairCounts:
    return PairCounts(both=total - lost - won - neither, only_policy=won, only_baseline=lost, neither=neither)


def test_the_margins_are_those_of_the_reference_tables() -> None:
    assert [(margin.loss, margin.pairs, margin.column) for margin in MARGINS] == [
        (0.05, 200, "non_inferior_at_5_points"),
        (0.02, 800, "non_inferior_at_2_points"),
    ]


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 400))
def test_limits_are_one_sided_at_95_percent(lost: int, won: int, rest: int) -> None:
    """Tango's score at the lower limit is the 95 % quantile: recomputed from the score, not from our interval."""
    table = counts(lost, won, lost + won + rest)
    limits, estimate = paired_difference_limits(table), paired_difference(table)
    assert limits is not None and estimate is not None
    assert limits == paired_difference_interval(table, level=0.90)
    wide = paired_difference_interval(table)
    assert wide is not None and wide.low <= limits.low <= estimate <= limits.high <= wide.high
    n, delta = table.total, limits.low
    beta = -won - lost + (2 * n - won + lost) * delta
    root = math.sqrt(max(0.0, beta**2 + 8 * n * lost * delta * (1 - delta)))
    share = (root - beta) / (4 * n)
    score = (won - lost - n * delta) / math.sqrt(n * (2 * share + delta * (1 - delta)))
    assert score == pytest.approx(Z, rel=1e-5)


def test_without_a_discordant_pair_the_limit_is_known() -> None:
    limits = paired_difference_limits(counts(0, 0, 200))
    assert limits is not None and limits.low == pytest.approx(-(Z**2) / (200 + Z**2))


@pytest.mark.parametrize(
    ("table", "margin", "verdict"),
    [
        (counts(2, 2, 200), FIVE, "yes"),
        (counts(9, 2, 200), FIVE, "no"),  # -3.5 points, but the limit is below -5
        (counts(0, 0, 199), FIVE, "not yet"),  # however good: not before the planned number
        (counts(2, 2, 200), TWO, "not yet"),
        (counts(4, 4, 800), TWO, "yes"),
        (counts(60, 0, 100), FIVE, "no"),  # already certain
        (counts(1, 0, 1), FIVE, "not yet"),  # all lost, but that is one pair
        (counts(10, 0, 10), FIVE, "no"),
        (counts(0, 0, 200, neither=200), FIVE, None),  # nothing succeeds, so nothing can be lost
        (counts(0, 0, 200, neither=190), FIVE, None),
        (counts(0, 0, 200, neither=189), FIVE, "yes"),
        (counts(0, 0, 0), FIVE, None),
    ],
)
def test_verdicts(table: PairCounts, margin: Margin, verdict: str | None) -> None:
    assert judge_margin(table, margin) == verdict


@given(st.integers(0, 30), st.integers(0, 30), st.integers(200, 300), st.floats(0.01, 0.3))
def test_yes_means_that_the_limit_is_inside(lost: int, won: int, total: int, loss: float) -> None:
    table = counts(lost, won, total)
    found = summarize_non_inferiority(table, [Margin(loss, 200)])
    assert (found["margins"][0]["verdict"] == "yes") == (found["lower95"] > -loss)


def test_margins_are_read_from_words() -> None:
    assert parse_margin("5:200") == FIVE
    assert parse_margin("2.5:400") == Margin(0.025, 400)
    assert parse_margin("2.5:400").column == "non_inferior_at_2.5_points"
    assert parse_margin("1:1000").words == "1 point"


@pytest.mark.parametrize("text", ["5", "5:", "five:200", "5:2e2", "0:200", "100:200", "-5:200", "5:0", "nan:9", ""])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^margin: expected"):
        parse_margin(text)
