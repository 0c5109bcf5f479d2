"""Timed calls and rows of given figures, without a model."""

from __future__ import annotations

from dataclasses import replace

from vlacache.bench.compare import Call, Measured, Row, summarize
from vlacache.bench.ladder import (
    DENSE,
)
from vlacache.types import InferenceStats


def measured(total_ms: list[float], fallbacks: list[str | None], macs: int = 100) -> Measured:
    """One episode of given calls."""
    stats = [
        InferenceStats(
            total_ms=t, prefill_ms=t / 2, macs=macs, prefill_macs=macs // 2, num_prompt_tokens=30,
            recomputed_tokens_mean=30.0, fallback=f,
        )
        for t, f in zip(total_ms, fallbacks, strict=True)
    ]  # fmt: skip
    return Measured([[Call(s, s.total_ms + 1.0, None) for s in stats]])


def row(efficiency: float) -> Row:
    """A row of which the efficiency alone matters."""
    arms = {DENSE: measured([50.0, 10.0], ["policy_none"] * 2)}
    return replace(summarize(DENSE, arms[DENSE], arms[DENSE]), efficiency=efficiency)
