"""Figures of an arm from the lines of its episodes alone, by other means than the report's."""

from __future__ import annotations

import pandas as pd


def figures_of_calls(table: pd.DataFrame) -> dict[str, float]:
    """Of the columns of ``sweep.csv``: those that rest on calls. ``table``: as ``call_table.tabulate_calls`` gives."""
    policy, keys = table[table["arm"] == "policy"], ["task_id", "init_index", "env_seed"]
    timed = table[table["timed_calls"] > 0].copy()
    both = timed.groupby(keys)["arm"].transform("nunique") == 2
    weighted = timed[both].assign(**{name: timed[name] * timed["timed_calls"] for name in ("total_ms", "prefill_ms")})
    sums = weighted.groupby("arm")[["total_ms", "prefill_ms", "timed_calls"]].sum()
    means = sums[["total_ms", "prefill_ms"]].div(sums["timed_calls"], axis=0)

    def over_calls(name: str) -> float:
        return float((policy[name] * policy["calls"]).sum() / policy["calls"].sum())

    return {
        "reuse_ratio": over_calls("reuse_ratio"),
        "fallback_share": over_calls("dense_share"),
        "macs": over_calls("macs"),
        "speedup": float(means.loc["baseline", "total_ms"] / means.loc["policy", "total_ms"]),
        "prefill_speedup": float(means.loc["baseline", "prefill_ms"] / means.loc["policy", "prefill_ms"]),
        "latency_mean_ms": float(means.loc["policy", "total_ms"]),
    }
