"""The rules of the WidowX tasks, clause by clause, and the layouts."""

from __future__ import annotations

import numpy as np
import pytest

from runners.envs.simpler.bridge_rules import BridgeFlags, is_on, moved
from runners.envs.simpler.bridge_tasks import BRIDGE_TASKS

BOX = np.array([0.03, 0.03, 0.03])
TARGET = np.array([-0.2, 0.05, 0.885])


def test_on_the_target():
    assert is_on(TARGET + np.array([0.0, 0.0, 0.03]), TARGET, BOX, BOX, max_gap=0.02)


@pytest.mark.parametrize(
    ("offset", "on"),
    [
        ((0.0243, 0.0, 0.03), False),  # 0.5 * 0.03 * sqrt(2) + 0.003 = 0.0242
        ((0.0241, 0.0, 0.03), True),
        ((0.0, 0.0, -0.01), False),
        ((0.0, 0.0, 0.0), False),
        ((0.0, 0.0, 0.0499), True),
        ((0.0, 0.0, 0.0501), False),
    ],
)
def test_margins_of_the_place(offset, on):
    """Beside it by more than half a diagonal and 3 mm, not above it, or more than 20 mm over it."""
    assert is_on(TARGET + offset, TARGET, BOX, BOX, max_gap=0.02) is on


def test_a_turned_source_keeps_the_signs_of_the_original():
    """The vector of extents is turned, not the box: a source upside down has a negative height, and a wider gap."""
    upside_down = BOX * [1, 1, -1]
    assert is_on(TARGET + np.array([0, 0, 0.03]), TARGET, BOX, BOX, max_gap=0.02)
    assert not is_on(TARGET + np.array([0, 0, 0.03]), TARGET, upside_down, BOX, max_gap=0.02)


@pytest.mark.parametrize(
    ("source", "others", "expected"),
    [
        (0.031, [0.0], (True, False)),
        (0.029, [0.0], (False, False)),
        (0.05, [0.06], (False, True)),
        (0.02, [0.031], (False, True)),
        (0.05, [0.05], (False, False)),
    ],
)
def test_what_counts_as_moved(source, others, expected):
    assert moved(source, others) == expected


def test_success_is_being_on_the_target_now():
    assert BridgeFlags(src_on_target=True).success
    assert not BridgeFlags(moved_correct_obj=True, is_src_obj_grasped=True, consecutive_grasp=True).success


def test_each_task_has_24_different_layouts():
    for task in BRIDGE_TASKS:
        assert len(task.layouts) == len(set(task.layouts)) == 24
        assert all(source != target for source, target, _ in task.layouts)


def test_step_limits_and_instructions_are_upstreams():
    from runners.suite_names import NUM_TASKS, TASK_MAX_STEPS

    assert tuple(task.max_steps for task in BRIDGE_TASKS) == TASK_MAX_STEPS["simpler_widowx"]
    assert len(BRIDGE_TASKS) == NUM_TASKS["simpler_widowx"]
    assert [task.instruction for task in BRIDGE_TASKS] == [
        "put the spoon on the towel",
        "put carrot on plate",
        "stack the green block on the yellow block",
        "put eggplant into yellow basket",
    ]
