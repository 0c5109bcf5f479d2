"""The project's goals for latency, read off a finished measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlacache.bench.compare import Measured, Row, paired_ratio
from vlacache.bench.ladder import (
    DENSE,
    KNOWN_DRAFTS,
    MAC_RATIO,
    MAC_RATIO_ARM,
    POLICIES,
    SCRIPT,
    SPECULATIVE,
    WRONG_DRAFTS,
    Rung,
)

#: Deciding, as a share of the arm's own call, and prefill speed-up over MAC ratio, by device type.
MAX_DECIDE_SHARE = {"cuda": 0.03, "cpu": 0.08}
MIN_PREFILL_EFFICIENCY = 0.8
MIN_SPECULATIVE_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Target:
    """One goal. ``value`` is None where the arms it needs were not measured."""

    name: str
    value: float | None
    limit: float
    at_most: bool

    @property
    def met(self) -> bool | None:
        """Whether it is reached; None where it was not measured."""
        if self.value is None:
            return None
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def to_dict(self) -> dict[str, Any]:
        """For the JSON."""
        return {
            "name": self.name, "value": self.value, "limit": self.limit, "at_most": self.at_most, "met": self.met,
        }  # fmt: skip

    def __str__(self) -> str:
        verdict = {True: "reached", False: "MISSED", None: "not measured"}[self.met]
        value = "-" if self.value is None else f"{self.value:.3g}"
        return f"{verdict:12} {self.name}: {value} ({'at most' if self.at_most else 'at least'} {self.limit:g})"


def check_speculation(measured: Mapping[str, Measured], num_steps: int, device_type: str) -> list[Target]:
    """Goals of speculative decoding, on the calls whose drafts were all accepted, and those with none accepted.

    Twice as fast is for a 7B model on a GPU, which decodes for three quarters of a call. The twins on a CPU do not:
    there the goal is a share of what a call without any decoding would gain.

    Args:
        num_steps: decode steps of a plain call.
    """
    if SPECULATIVE not in measured:
        return []
    kept, num_kept = _speculative_ratio(measured, KNOWN_DRAFTS, num_steps)
    lost, num_lost = _speculative_ratio(measured, WRONG_DRAFTS, 0)
    what = "plain / speculative call"
    refused = Target(f"{what}, no draft accepted ({num_lost} calls)", lost, 1 / 1.05, False)
    everything = f"all drafts accepted ({num_kept} calls)"
    if device_type == "cuda":
        return [Target(f"{what}, {everything}", kept, 2.0, False), refused]
    total, decode = (float(np.median(measured[DENSE].column(name))) for name in ("total_ms", "decode_ms"))
    gain = total / (total - decode)
    share = None if kept is None else kept / gain
    name = f"{what}, {everything} / call without decoding ({gain:.2f}x)"
    return [Target(name, share, MIN_SPECULATIVE_SHARE, False), refused]


def _speculative_ratio(measured: Mapping[str, Measured], arm: str, accepted: int) -> tuple[float | None, int]:
    """Plain / speculative time on the arm's calls with so many drafts accepted, and how many those are."""
    if arm not in measured:
        return None, 0
    ours, dense = measured[arm], measured[DENSE]
    calls = (ours.accepted() == accepted) & ours.counts() & dense.counts()
    return (paired_ratio(ours, dense, "total_ms", calls) if calls.any() else None), int(calls.sum())


def _prefill_targets(rows: Mapping[str, Row]) -> list[Target]:
    """Prefill speed-up over MAC ratio: where the whole call has ``MAC_RATIO``, and at the worst of all fixed ratios."""
    efficiency = {name: row.efficiency for name, row in rows.items() if name.startswith("fixed")}
    worst = min(efficiency, key=efficiency.__getitem__, default=None)
    what = "prefill speed-up / MAC ratio"
    return [
        Target(f"{what}, {MAC_RATIO_ARM}", efficiency.get(MAC_RATIO_ARM), MIN_PREFILL_EFFICIENCY, False),
        Target(f"{what}, worst ({worst})", None if worst is None else efficiency[worst], MIN_PREFILL_EFFICIENCY, False),
    ]


def _decide_target(rows: Mapping[str, Row], limit: float) -> Target:
    """Share of the worst policy's call; one that reused nothing hardly ever decided, because it backed off."""
    shares = {name: rows[name].decide_share for name in POLICIES if name in rows and rows[name].cached_calls > 0}
    idle = [name for name in POLICIES if name in rows and name not in shares]
    worst = max(shares, key=shares.__getitem__, default=None)
    left_out = f"; no cached call, left out: {', '.join(idle)}" if idle else ""
    what = f"deciding, share of its own call, worst policy ({worst}{left_out})"
    return Target(what, None if worst is None else shares[worst], limit, True)


def _gain_target(rungs: Mapping[str, Rung], rows: Mapping[str, Row]) -> Target:
    """Share of the gain that the floor allows, at the worst policy or fixed ratio; names those that never reused."""
    arms = [name for name in rungs if name in rows and (name in POLICIES or name.startswith("fixed"))]
    gains = {name: rungs[name].share_of_floor_gain for name in arms if rows[name].cached_calls > 0}
    worst, idle = min(gains, key=gains.__getitem__, default=None), [name for name in arms if name not in gains]
    left_out = f"; no cached call, left out: {', '.join(idle)}" if idle else ""
    what = f"speed-up / gain that the floor allows, worst ({worst}{left_out})"
    return Target(what, None if worst is None else gains[worst], 0.8, False)


def check_targets(rungs: Mapping[str, Rung], rows: Mapping[str, Row], model: str, device_type: str) -> list[Target]:
    """The goals that apply to this model and device."""
    shared = [_decide_target(rows, MAX_DECIDE_SHARE[device_type])]
    if device_type == "cpu":
        return [*shared, *_prefill_targets(rows)]
    script, dense = rungs.get(SCRIPT), rungs.get(DENSE)
    times = None if script is None else 1.0 / script.against_dense
    targets = [
        *shared,
        Target("dense call / floor", None if dense is None else dense.distance, 2.0, True),
        Target(f"{SCRIPT} call / dense call", times, 3.0, False),
        _gain_target(rungs, rows),
    ]
    if model == "openvla_oft":
        rung = rungs.get(MAC_RATIO_ARM)
        value = None if rung is None else rung.against_dense
        targets.append(Target(f"end-to-end speed-up at a MAC ratio of {MAC_RATIO}", value, 1.2, False))
    return targets
