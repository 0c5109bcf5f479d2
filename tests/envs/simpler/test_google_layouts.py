"""Episodes of the Google robot suites: how many, where things start, what the instruction says."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from runners.envs.simpler.google_layouts import distractor_spots
from runners.envs.simpler.google_tasks import (
    GOOGLE_TASKS,
    VA_SUITE,
    VM_SUITE,
    instruction_of,
    second_instruction,
    spoken_name,
    task_layouts,
)
from runners.suite_names import NUM_TASKS, TASK_MAX_STEPS

FAMILIES = {"pick": (0, 1, 2), "near": (3,), "drawer": (4, 5, 6, 7, 8, 9), "place": (10,)}
PUBLISHED = {VM_SUITE: (300, 240, 216, 108), VA_SUITE: (675, 480, 378, 189)}


@pytest.mark.parametrize("suite", [VM_SUITE, VA_SUITE])
def test_numbers_of_episodes_are_the_published_ones(suite: str) -> None:
    counts = [sum(len(task_layouts(suite, task)) for task in tasks) for tasks in FAMILIES.values()]
    assert tuple(counts) == PUBLISHED[suite]


@pytest.mark.parametrize("suite", [VM_SUITE, VA_SUITE])
@pytest.mark.parametrize("task", range(11))
def test_no_layout_comes_twice(suite: str, task: int) -> None:
    layouts = task_layouts(suite, task)
    assert len(set(layouts)) == len(layouts)


def test_names_and_sizes_agree_with_the_config() -> None:
    assert NUM_TASKS[VM_SUITE] == NUM_TASKS[VA_SUITE] == len(GOOGLE_TASKS)
    assert TASK_MAX_STEPS[VM_SUITE] == TASK_MAX_STEPS[VA_SUITE] == tuple(task.max_steps for task in GOOGLE_TASKS)


def test_each_setting_and_colour_has_the_same_share() -> None:
    assert set(Counter(layout.setting.name for layout in task_layouts(VA_SUITE, 0)).values()) == {25}
    assert set(Counter(layout.urdf for layout in task_layouts(VM_SUITE, 3)).values()) == {60}
    assert [layout.setting.name for layout in task_layouts(VA_SUITE, 4)[::9]] == [
        "base",
        "bedroom",
        "office",
        "brighter",
        "darker",
        "cabinet_2",
        "cabinet_3",
    ]


def test_pick_runs_over_x_first() -> None:
    spots = [layout.objects[0].xy for layout in task_layouts(VM_SUITE, 0)]
    np.testing.assert_allclose(spots[0], (-0.35, -0.02))
    np.testing.assert_allclose(spots[1], (-0.35, 0.09))
    np.testing.assert_allclose(spots[24], (-0.12, 0.42))


def test_move_near_names_source_and_target() -> None:
    layouts = task_layouts(VM_SUITE, 3)
    task = GOOGLE_TASKS[3]
    assert instruction_of(task, layouts[0]) == "move blue plastic bottle near pepsi can"
    assert instruction_of(task, layouts[5]) == "move orange near pepsi can"
    assert instruction_of(task, layouts[27]) == "move redbull can near apple"
    assert [placed.model for placed in layouts[27].objects][:2] == ["baked_opened_redbull_can", "baked_apple"]
    alone = task_layouts(VA_SUITE, 3)[60]
    assert alone.setting.name == "no_distractor"
    assert [placed.model for placed in alone.objects] == ["blue_plastic_bottle", "opened_pepsi_can"]


def test_names_in_instructions() -> None:
    assert spoken_name("baked_opened_7up_can_v2") == "7up can"
    assert spoken_name("bridge_spoon_generated_modified") == "spoon"
    assert spoken_name("baked_green_cube_3cm") == "green cube"
    assert second_instruction(GOOGLE_TASKS[10], task_layouts(VM_SUITE, 10)[0]) == "place apple into top drawer"
    assert [instruction_of(GOOGLE_TASKS[t], task_layouts(VM_SUITE, t)[0]) for t in (0, 5, 9, 10)] == [
        "pick coke can",
        "open middle drawer",
        "close bottom drawer",
        "open top drawer",
    ]


def test_distractors_fall_where_upstream_drops_them() -> None:
    """Numbers of upstream's generator, for the first target of the grid and the short list."""
    spots = distractor_spots((-0.35, -0.02), 4)
    expected = [(-0.1, 0.1722), (-0.2123, 0.2489), (-0.1333, 0.2024), (-0.1, 0.05)]
    np.testing.assert_allclose(spots, expected, atol=5e-5)


@pytest.mark.parametrize("target", [(-0.35, -0.02), (-0.235, 0.2), (-0.12, 0.42)])
def test_distractors_keep_their_distance(target: tuple[float, float]) -> None:
    for x, y in distractor_spots(target, 6):
        assert math.dist((x, y), target) > 0.25
        assert -0.5 <= x <= -0.1 and 0.05 <= y <= 0.35


ORACLES = os.environ.get("VLACACHE_ORACLES_DIR")


@pytest.mark.skipif(not ORACLES, reason="VLACACHE_ORACLES_DIR is not set")
def test_layouts_are_the_recorded_ones() -> None:
    """Every Google recording: spawn poses, the robot's place and the first instruction."""
    from runners.envs.simpler.recorded_layouts import google_layout

    checked = 0
    for path in sorted((Path(ORACLES or "") / "simpler/episodes").glob("*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["robot_uid"] != "google_robot_static":
            continue
        task_id, index = google_layout(path.stem)
        layout = task_layouts(VM_SUITE, task_id)[index]
        assert instruction_of(GOOGLE_TASKS[task_id], layout) == facts["instruction"]
        np.testing.assert_allclose(layout.robot[:2], facts["reset_options"]["robot_init_options"]["init_xy"], atol=1e-6)
        spawned = facts["settle"][0]["poses"] if facts["settle"] else {}
        assert {placed.model for placed in layout.objects} == set(spawned)
        for placed in layout.objects:
            np.testing.assert_allclose(placed.xy, spawned[placed.model][:2], atol=1e-6)
            assert abs(np.dot(placed.turn, spawned[placed.model][3:])) == pytest.approx(1.0, abs=1e-6)
        checked += 1
    assert checked == 44
