"""Success by every rule from one rollout of full length: published SIMPLER numbers do not agree on one."""

from __future__ import annotations

from typing import Any

import pandas as pd

from runners.report.load import RunFrames

RULES = ("final_step", "any_step", "first")


def success_by_rule(frames: RunFrames) -> dict[str, Any] | None:
    """Episodes without an error that succeed by each rule.

    ``final_step``: the flag after the last step. ``any_step``: after at least one. ``first`` counts the same episodes
    as ``any_step``; it only ends them earlier.

    Returns:
        ``{arm: {"num": n, "final_step": k, "any_step": k, "first": k}}`` over the episodes whose steps are on the
        disk; None where episodes end at the first success, so that their last step is unknown.
    """
    if frames.run["config"].get("suite", {}).get("success_rule", "first") == "first" or len(frames.steps) == 0:
        return None
    steps = frames.steps[frames.steps["status"] != "error"].sort_values("step")
    flags = steps.groupby(["arm", "slug"])["success"]
    last, ever = flags.last().astype(bool), flags.max().astype(bool)
    return {arm: _count(last.loc[arm], ever.loc[arm]) for arm in sorted(steps["arm"].unique())}


def _count(last: pd.Series[bool], ever: pd.Series[bool]) -> dict[str, int]:
    any_step = int(ever.sum())
    return {"num": len(last), "final_step": int(last.sum()), "any_step": any_step, "first": any_step}
