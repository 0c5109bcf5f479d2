"""Is a cache no worse than no cache by more than a margin that was fixed beforehand?

No significant difference is not an answer to that; a one-sided limit of the paired difference is. A margin goes with
the number of pairs at which it is judged: exactly the first so many that were planned, however many follow, so that
nobody looks until the answer is the wished one. A pair with an error keeps its place among them and no later one takes
it: neither an error nor a repeated one buys another look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runners.report.stats import Interval, PairCounts, paired_difference_limits

Verdict = Literal["yes", "no", "not yet"]
#: How a pair ended: a field of ``PairCounts``, or with an error in either arm.
PairEnd = Literal["both", "only_policy", "only_baseline", "neither", "error"]

READING = (
    "Non-inferior to no cache at M points, each arm by itself, on exactly the first planned pairs (by initial state, "
    "then task; pairs with an error keep their place and are left out): yes when the one-sided 95 % lower limit of the "
    "difference (Tango) is above -M there; no when it is not, and already before when the upper limit is below -M; "
    "not yet while some of these pairs are missing; n/a when no cache itself succeeds in at most M points, when the "
    "suite has fewer pairs, or when the arm reused nothing, so that no cache was compared with no cache. Later pairs "
    "change no verdict; the limit in the table is over all pairs."
)


@dataclass(frozen=True, slots=True)
class Margin:
    """What a cache may cost in success.

    Attributes:
        loss: share of 1, between 0 and 1. pairs: how many of the first planned pairs it is judged on.

    Raises:
        ValueError: a number out of its range.
    """

    loss: float
    pairs: int

    def __post_init__(self) -> None:
        if not 0.0 < self.loss < 1.0:
            raise ValueError(f"margin: expected a loss between 0 and 100 points, got {100 * self.loss:g}")
        if self.pairs < 1:
            raise ValueError(f"margin: expected at least 1 planned pair, got {self.pairs}")

    @property
    def words(self) -> str:
        """``5 points``."""
        return f"{round(100 * self.loss, 6):g} {'point' if self.loss == 0.01 else 'points'}"

    @property
    def column(self) -> str:
        """Name of its verdict in ``sweep.csv``: ``non_inferior_at_5_points``."""
        return f"non_inferior_at_{self.words.replace(' ', '_')}"


#: Of the reference tables: 5 points on 200 pairs, then 2 points on 800.
MARGINS = (Margin(0.05, 200), Margin(0.02, 800))


def parse_margin(text: str) -> Margin:
    """``5:200``: 5 points, judged on the first 200 pairs.

    Raises:
        ValueError: other text, or numbers out of range.
    """
    loss, _, pairs = text.partition(":")
    try:
        numbers = float(loss) / 100.0, int(pairs)
    except ValueError as error:
        raise ValueError(f"margin: expected POINTS:PAIRS such as 5:200, got {text!r}") from error
    return Margin(*numbers)


@dataclass(frozen=True, slots=True)
class _First:
    """The first planned pairs so far: ``counts`` of the scored ones, ``errors`` left out, ``missing`` not run yet."""

    counts: PairCounts
    errors: int
    missing: int


def _take_first(ends: Sequence[PairEnd | None], pairs: int) -> _First:
    found = Counter(ends[:pairs])
    counts = PairCounts(found["both"], found["only_policy"], found["only_baseline"], found["neither"])
    return _First(counts, found["error"], pairs - counts.total - found["error"])


def judge_margin(
    ends: Sequence[PairEnd | None],
    margin: Margin,
    available: int | None = None,
    choice: str = "this suite",
    *,
    reused: bool = True,
) -> tuple[Verdict | None, str | None]:
    """The verdict on one arm, and on which pairs it rests where that is not all of them, or why there is none.

    Args:
        ends: how each planned pair ended, in the order of the plan; None for one that has not. available: pairs that
            the run can grow to, where known. choice: what has so many. reused: whether the arm reused a token at all.

    Returns:
        A verdict of None where it would say nothing: nothing reused, no pair, a baseline with nothing to lose, or too
        few available.
    """
    if not reused:
        return None, "it reused nothing"
    first = _take_first(ends, margin.pairs)
    counts, limits = first.counts, paired_difference_limits(first.counts)
    so_far = f"{margin.pairs - first.missing} of {margin.pairs} planned pairs"
    if limits is not None and limits.high < -margin.loss and first.missing > 0:
        return "no", so_far
    if first.missing > 0 and available is not None and available < margin.pairs:
        return None, f"{choice} has {available} pairs"
    if limits is None:
        return None, "no pair"
    if (counts.both + counts.only_baseline) / counts.total <= margin.loss:
        return None, "no cache succeeds in no more"
    if first.missing > 0:
        return "not yet", so_far
    beyond = [f"first {margin.pairs} pairs"] if len(ends) > margin.pairs else []
    dropped = [f"{first.errors} of {margin.pairs} left out for errors"] if first.errors > 0 else []
    return "yes" if limits.low > -margin.loss else "no", ", ".join([*beyond, *dropped]) or None


def summarize_non_inferiority(
    ends: Sequence[PairEnd | None],
    margins: Sequence[Margin],
    available: int | None = None,
    choice: str = "this suite",
    *,
    reused: bool = True,
) -> dict[str, Any]:
    """JSON-ready: ``lower95`` and ``upper95`` (one-sided limits over all scored pairs), and of each margin its verdict.

    Arguments as of ``judge_margin``, whose second value is ``basis``.
    """
    limits: Interval | None = paired_difference_limits(_take_first(ends, len(ends)).counts)
    rows = []
    for margin in margins:
        verdict, basis = judge_margin(ends, margin, available, choice, reused=reused)
        row = {"loss": margin.loss, "planned_pairs": margin.pairs, "words": margin.words}
        rows.append({**row, "verdict": verdict, "basis": basis})
    return {
        "lower95": None if limits is None else limits.low,
        "upper95": None if limits is None else limits.high,
        "margins": rows,
    }
