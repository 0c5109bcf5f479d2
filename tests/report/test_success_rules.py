"""Success by every rule from the steps of full-length episodes, and what the cache did on the objects."""

from __future__ import annotations

import pandas as pd
import pytest

from runners.report.load import RunFrames
from runners.report.object_patches import summarize_object_patches
from runners.report.success_rules import success_by_rule

#: Episode -> success after each of its steps.
EPISODES = {"undone": [0, 1, 1, 0], "kept": [0, 0, 1, 1], "late": [0, 0, 0, 1], "never": [0, 0, 0, 0]}


#: Episode -> task.
TASKS = {"undone": 0, "kept": 0, "late": 7, "never": 7}


def frames(rule: str, status: str = "success") -> RunFrames:
    rows = [
        {
            "arm": arm,
            "task_id": TASKS[name],
            "slug": f"{arm}-{name}",
            "status": status,
            "step": step,
            "success": bool(flag),
        }
        for arm in ("baseline", "policy")
        for name, flags in EPISODES.items()
        for step, flag in reversed(list(enumerate(flags)))
        if arm == "baseline" or name != "late"
    ]
    run = {"config": {"suite": {"success_rule": rule}}}
    return RunFrames(run, pd.DataFrame(), pd.DataFrame(rows), pd.DataFrame())


def test_a_success_that_was_undone_counts_by_two_rules_of_three():
    counts = success_by_rule(frames("final_step"))
    assert without_tasks(counts["baseline"]) == {"num": 4, "final_step": 2, "any_step": 3, "first": 3}
    assert without_tasks(counts["policy"]) == {"num": 3, "final_step": 1, "any_step": 2, "first": 2}


def without_tasks(counts):
    return {key: value for key, value in counts.items() if key != "tasks"}


def test_each_task_has_its_own_counts():
    counts = success_by_rule(frames("final_step"))
    assert counts["baseline"]["tasks"] == {
        "0": {"num": 2, "final_step": 1, "any_step": 2, "first": 2},
        "7": {"num": 2, "final_step": 1, "any_step": 1, "first": 1},
    }
    assert counts["policy"]["tasks"]["7"] == {"num": 1, "final_step": 0, "any_step": 0, "first": 0}


def test_episodes_that_end_at_the_first_success_do_not_tell():
    assert success_by_rule(frames("first")) is None


def test_episodes_with_an_error_do_not_count():
    assert success_by_rule(frames("final_step", status="error")) == {}


def test_static_share_of_object_patches():
    calls = pd.DataFrame(
        {
            "object_patches": [9, 4, 6, None],
            "object_static": [0, 1, 4, None],
            "fallback": ["cold", None, None, None],
        }
    )
    assert summarize_object_patches(calls) == {"calls": 2, "patches": 5.0, "static_share": pytest.approx(0.5)}


def test_nothing_is_claimed_of_simulators_that_do_not_tell():
    assert summarize_object_patches(pd.DataFrame({"fallback": [None]})) is None
    empty = pd.DataFrame({"object_patches": [0], "object_static": [0], "fallback": [None]})
    assert summarize_object_patches(empty) is None
