"""Which episodes a run consists of, in which order: pure data, the same on every machine and after every resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from runners.records import Arm, EpisodeKey


@dataclass(frozen=True, slots=True)
class PairPlan:
    """One initial state, rolled out once for each arm.

    Attributes:
        suite, task_id, init_index, env_seed, placement: as in ``EpisodeKey``.
        position: 0-based place among the pairs of its task.
        policy_first: the policy arm runs before the baseline. Alternates, so that drift of the machine hits both
            arms; fixed when the plan is made, so that a resumed run keeps it.
    """

    suite: str
    task_id: int
    init_index: int
    env_seed: int
    placement: str
    position: int
    policy_first: bool

    @property
    def arms(self) -> tuple[Arm, Arm]:
        """The two arms in the order in which they run."""
        return ("policy", "baseline") if self.policy_first else ("baseline", "policy")

    def key(self, arm: Arm, cache: str) -> EpisodeKey:
        """Identity of this pair's episode for one arm, which runs under cache policy ``cache``."""
        return EpisodeKey(arm, cache, self.suite, self.task_id, self.init_index, self.env_seed, self.placement)


def plan_episodes(
    suite: str,
    task_ids: Sequence[int],
    episodes_per_task: int | None,
    init_indices: Sequence[int] | None,
    seed: int,
    placement: str,
    num_init_states: int | Mapping[int, int],
    order: Mapping[int, Sequence[int]] | None = None,
    first_state: int = 0,
) -> tuple[PairPlan, ...]:
    """Pairs of a run, task by task.

    Args:
        suite: official id.
        task_ids: tasks in the order in which they run.
        episodes_per_task: pairs of each task, n states of its ``order`` from ``first_state`` on; None for all of them.
        init_indices: exactly these initial states, in this order, or None.
        seed: ``env_seed`` of every episode (0 is a seed like any other); the official scripts use one for all.
        placement: where the objects start; ``official``: as the suite's initial states say.
        num_init_states: initial states that a task has: one number, or one for each task id.
        order: of each task, the states that may be taken, the first of them first; None for 0, 1, 2 ...
        first_state: how many states of the ``order`` are left out at its beginning.

    Raises:
        ValueError: empty or repeated tasks or states, a state that the task does not have, or another number of states
            in ``init_indices`` than ``episodes_per_task``; more episodes than states to take.
    """
    _check_distinct("suite.task_ids", task_ids)
    if episodes_per_task is not None and episodes_per_task < 1:
        raise ValueError(f"suite.episodes_per_task: expected at least 1, got {episodes_per_task}")
    if init_indices is not None:
        _check_distinct("suite.init_indices", init_indices)
    plan = []
    for task_position, task_id in enumerate(task_ids):
        available = num_init_states if isinstance(num_init_states, int) else num_init_states[task_id]
        if init_indices is not None:
            chosen = _named_states(task_id, episodes_per_task, init_indices, available)
        else:
            chosen = range(available) if order is None else order[task_id]
            _check_first(first_state, task_id, len(chosen))
            chosen = chosen[first_state:]
            _check_count(suite, episodes_per_task, task_id, chosen, order is not None, placement)
            chosen = chosen[:episodes_per_task]
        for position, init_index in enumerate(chosen):
            # Counted from a different arm in each task: the first pair of a task meets a fresh simulator.
            policy_first = (task_position + position) % 2 == 1
            plan.append(PairPlan(suite, task_id, init_index, seed, placement, position, policy_first))
    return tuple(plan)


def _check_first(first_state: int, task_id: int, selected: int) -> None:
    if not 0 <= first_state < selected:
        raise ValueError(
            f"suite.first_state={first_state}: task {task_id} has {selected} initial states to take; expected "
            f"0 .. {selected - 1}"
        )


def _check_count(
    suite: str, count: int | None, task_id: int, chosen: Sequence[int], is_selection: bool, placement: str
) -> None:
    """A run ends where the initial states end: the same state under another seed would be no independent episode."""
    if count is None or count <= len(chosen):
        return
    if is_selection:
        raise ValueError(
            f"suite.episodes_per_task={count}: task {task_id} has {len(chosen)} layouts with these suite.settings from "
            "suite.first_state on; null takes all of them"
        )
    has_wide = suite.startswith("libero_") and placement == "official"
    more = " suite.placement=wide draws more states where it exists." if has_wide else ""
    raise ValueError(
        f"suite.episodes_per_task={count}: task {task_id} has initial states {chosen[0]} .. {chosen[-1]}, so a run of "
        f"the {placement} placement ends at {len(chosen)} episodes a task; null takes all of each.{more} Another seed= "
        "needs another run_id."
    )


def _named_states(task_id: int, count: int | None, init_indices: Sequence[int], available: int) -> list[int]:
    chosen = list(init_indices)
    outside = [i for i in chosen if not 0 <= i < available]
    if outside:
        raise ValueError(
            f"suite.init_indices: task {task_id} has initial states 0 .. {available - 1}, got {outside[:5]}"
        )
    if count is not None and len(chosen) != count:
        raise ValueError(
            f"suite.init_indices names {len(chosen)} initial states, but suite.episodes_per_task={count}: "
            "leave suite.episodes_per_task away, or let both agree"
        )
    return chosen


def _check_distinct(name: str, values: Sequence[int]) -> None:
    if len(values) == 0:
        raise ValueError(f"{name}: expected at least one, got none")
    if len(set(values)) < len(values):
        raise ValueError(f"{name}: expected distinct numbers, got {list(values)}")


def check_filmed(video: str | Sequence[str], plan: Sequence[PairPlan]) -> None:
    """Raise ``ValueError`` when ``runner.video`` lists a pair (``"task:state"``) that is not in the plan."""
    if isinstance(video, str):
        return
    planned = {(pair.task_id, pair.init_index): f"{pair.task_id}:{pair.init_index}" for pair in plan}
    unplanned = [name for name in video if tuple(map(int, name.split(":"))) not in planned]
    if unplanned:
        names = list(planned.values())
        more = f" ... ({len(names)} in all)" if len(names) > 12 else ""
        raise ValueError(
            f"runner.video: {', '.join(unplanned)} not among the pairs of this run (task:state): "
            f"{', '.join(names[:12])}{more}"
        )


def policy_seed(key: EpisodeKey) -> int:
    """Seed for ``Policy.reset``: differs between episodes, equal for both arms of a pair, 0 .. 2**32-1.

    A policy that draws noise would otherwise draw the same noise in every episode of the run.
    """
    entropy = [key.env_seed, key.task_id, key.init_index]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
