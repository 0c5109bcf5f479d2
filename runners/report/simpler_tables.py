"""What only SIMPLER's reports have: success by setting, the rows of its published tables, what was a stand-in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from runners.report.pairs import ARMS
from runners.suite_names import TASK_FAMILIES


def summarize_stand_ins(episodes: pd.DataFrame) -> list[dict[str, Any]]:
    """Per task, what its episodes showed that is not the original's mesh or texture; tasks without are left out."""
    shown = episodes[["task_id", "stand_ins"]].explode("stand_ins").dropna()
    tasks = sorted({int(task) for task in shown["task_id"]})
    return [
        {"task_id": task, "names": sorted(shown.loc[shown["task_id"] == task, "stand_ins"].unique())} for task in tasks
    ]


def summarize_families(suite: str, tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean success over the tasks of each family, as SIMPLER's papers print it, and the mean of the families.

    Args:
        suite: official id. tasks: of the summary.

    Returns:
        ``name``, ``task_ids`` (those with a rate), ``complete``, and each arm's ``success_rate``. ``average`` comes
        last, where every family is complete. Empty for suites whose tables are not made so.
    """
    rates = {task["task_id"]: task["success_rate"] for task in tasks if task["num_episodes"] > 0}
    rows = []
    for name, members in TASK_FAMILIES.get(suite, {}).items():
        found = [task for task in members if task in rates]
        if found:
            rows.append(_row(name, found, len(found) == len(members), [rates[task] for task in found]))
    complete = [row for row in rows if row["complete"]]
    if complete and len(complete) == len(TASK_FAMILIES[suite]):
        every = [task for row in rows for task in row["task_ids"]]
        rows.append(_row("average", every, True, [row["success_rate"] for row in rows]))
    return rows


def _row(name: str, task_ids: list[int], complete: bool, rates: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    means = {arm: sum(rate[arm] for rate in rates) / len(rates) for arm in ARMS}
    return {"name": name, "task_ids": task_ids, "complete": complete, "success_rate": means}
