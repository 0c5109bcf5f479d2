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
        ``{arm: {"num": n, "final_step": k, "any_step": k, "first": k, "tasks": {task id: the same}}}`` over the
        episodes whose steps are on the disk; None where episodes end at the first success, so that their last step is
        unknown. Task ids are text, as in JSON.
    """
    if frames.run["config"].get("suite", {}).get("success_rule", "first") == "first" or len(frames.steps) == 0:
        return None
    steps = frames.steps[frames.steps["status"] != "error"].sort_values("step")
    flags = steps.groupby(["arm", "task_id", "slug"])["success"]
    ends = pd.DataFrame({"last": flags.last().astype(bool), "ever": flags.max().astype(bool)}).reset_index()
    return {
        str(arm): {**_count(rows), "tasks": {str(task): _count(part) for task, part in rows.groupby("task_id")}}
        for arm, rows in ends.groupby("arm")
    }


def _count(ends: pd.DataFrame) -> dict[str, int]:
    any_step = int(ends["ever"].sum())
    return {"num": len(ends), "final_step": int(ends["last"].sum()), "any_step": any_step, "first": any_step}
