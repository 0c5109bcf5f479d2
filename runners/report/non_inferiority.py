"""Is a cache no worse than no cache by more than a margin that was fixed beforehand?

No significant difference is not an answer to that; a one-sided limit of the paired difference is. A margin goes with
the number of pairs at which it is judged, so that nobody looks until the answer is the wished one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runners.report.stats import Interval, PairCounts, paired_difference_limits

Verdict = Literal["yes", "no", "not yet"]

READING = (
    "Non-inferior to no cache at M points, each arm by itself: yes when the one-sided 95 % lower limit of the "
    "difference (Tango) is above -M at the planned number of pairs or later; no when it is not, and already before "
    "when the upper limit is below -M; not yet with fewer pairs; n/a when no cache itself succeeds in at most M points."
)


@dataclass(frozen=True, slots=True)
class Margin:
    """What a cache may cost in success.

    Attributes:
        loss: share of 1, between 0 and 1. pairs: planned number of scored pairs, from which on it is judged.

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
    """``5:200``: 5 points, judged from 200 pairs on.

    Raises:
        ValueError: other text, or numbers out of range.
    """
    loss, _, pairs = text.partition(":")
    try:
        numbers = float(loss) / 100.0, int(pairs)
    except ValueError as error:
        raise ValueError(f"margin: expected POINTS:PAIRS such as 5:200, got {text!r}") from error
    return Margin(*numbers)


def judge_margin(counts: PairCounts, margin: Margin) -> Verdict | None:
    """The verdict on one arm; None where it would say nothing: no pair, or a baseline with nothing to lose."""
    limits = paired_difference_limits(counts)
    if limits is None or (counts.both + counts.only_baseline) / counts.total <= margin.loss:
        return None
    if limits.high < -margin.loss:
        return "no"
    if counts.total < margin.pairs:
        return "not yet"
    return "yes" if limits.low > -margin.loss else "no"


def summarize_non_inferiority(counts: PairCounts, margins: Sequence[Margin]) -> dict[str, Any]:
    """JSON-ready: ``lower95`` and ``upper95`` (one-sided limits of the difference) and a verdict for each margin."""
    limits: Interval | None = paired_difference_limits(counts)
    return {
        "lower95": None if limits is None else limits.low,
        "upper95": None if limits is None else limits.high,
        "margins": [
            {"loss": m.loss, "planned_pairs": m.pairs, "words": m.words, "verdict": judge_margin(counts, m)}
            for m in margins
        ],
    }
