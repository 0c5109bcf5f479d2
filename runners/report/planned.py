"""The pairs that a run is planned to have, from its record alone, in the order in which a margin counts them.

By place within the task, then by task: the first 200 are the same in a run of 20 episodes a task and in the one of 80
that it grows into, and neither success nor the order of resumes and repeated errors has a say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from runners.report.non_inferiority import PairEnd
from runners.suite_names import LIBERO_INIT_STATES, NUM_TASKS

Start = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PlannedPairs:
    """What the record of a run says about its pairs.

    Attributes:
        starts: (task, initial state) of each planned pair in the order of the margins; None where the record does not
            say. available: pairs that a run of these tasks can grow to; None where that is not known.
        choice: what has ``available`` pairs: ``this suite``, or a part of it.
    """

    starts: tuple[Start, ...] | None
    available: int | None
    choice: str


def planned_pairs(run: Mapping[str, Any]) -> PlannedPairs:
    """Read the plan of ``run.json`` (a ``RunRecord`` as a dict) again; see ``runners.plan.plan_episodes``."""
    suite = run["config"].get("suite")
    if not isinstance(suite, Mapping) or run["suite"] not in NUM_TASKS:
        return PlannedPairs(None, None, "this suite")
    tasks, named = suite.get("task_ids"), suite.get("init_indices")
    every = list(range(NUM_TASKS[run["suite"]]))
    first = _first(suite)
    part = named is not None or suite.get("settings") is not None or sorted(tasks or every) != every or first > 0
    choice = "this choice of tasks and states" if part else "this suite"
    count = suite.get("episodes_per_task")
    states = {task: _states(run["suite"], suite, task) for task in (tasks or every)}
    known = [own for own in states.values() if own is not None]
    available = sum(len(own) for own in known) if len(known) == len(states) else None
    if available is None and count is None:
        return PlannedPairs(None, None, choice)
    chosen = {
        task: (range(first, first + (count or 0)) if own is None else own[:count]) for task, own in states.items()
    }
    places = [(place, task, state) for task, own in chosen.items() for place, state in enumerate(own)]
    return PlannedPairs(tuple((task, state) for _, task, state in sorted(places)), available, choice)


def _states(name: str, suite: Mapping[str, Any], task: int) -> Sequence[int] | None:
    """The initial states of a task that a run may take, the first of them first; None where the record cannot say."""
    from runners.envs.simpler.selection import select_layouts, setting_names

    if suite.get("init_indices") is not None:
        return list(suite["init_indices"])
    if name.startswith("libero_"):
        return range(LIBERO_INIT_STATES[suite.get("placement", "official")])[_first(suite) :]
    return select_layouts(name, task, suite.get("settings"))[_first(suite) :] if setting_names(name, task) else None


def _first(suite: Mapping[str, Any]) -> int:
    return int(suite.get("first_state", 0))  # runs of earlier versions have no such key


def order_ends(pairs: pd.DataFrame, plan: PlannedPairs) -> list[PairEnd | None]:
    """How each planned pair ended, None for one that has not; then recorded pairs beside the plan by state and task.

    Args:
        pairs: as ``pair_episodes`` gives them.
    """
    rows = zip(pairs["task_id"], pairs["init_index"], pairs["status_policy"], pairs["status_baseline"], strict=True)
    ends = {(int(task), int(state)): _end(policy, baseline) for task, state, policy, baseline in rows}
    planned = dict.fromkeys(plan.starts or ())
    others = sorted(ends.keys() - planned, key=lambda start: (start[1], start[0]))
    return [ends.get(start) for start in (*planned, *others)]


def _end(policy: object, baseline: object) -> PairEnd | None:
    if "error" in (policy, baseline):
        return "error"
    if not {policy, baseline} <= {"success", "failure"}:
        return None
    if policy == "success":
        return "both" if baseline == "success" else "only_policy"
    return "only_baseline" if baseline == "success" else "neither"
