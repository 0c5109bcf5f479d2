"""Wide layouts as pure geometry: no simulator is started here."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
from collections.abc import Iterable
from functools import cache

import numpy as np
import pytest

from runners.envs.wide import draft, geometry
from runners.envs.wide.draft import COOKIES, DISTRACTOR, PLATE, RAMEKIN, TARGET, WideLayout
from runners.envs.wide.layout import NUM_TASKS, Stream, sample_wide_layout

PER_TASK = 100


@cache
def layouts(task_id: int) -> tuple[WideLayout, ...]:
    return tuple(sample_wide_layout(Stream.EVALUATION, task_id, index, 0) for index in range(PER_TASK))


def digest(drawn: Iterable[WideLayout]) -> str:
    """Of layouts, rounded to a nanometre."""
    numbers = []
    for layout in drawn:
        for pose in (*layout.objects.values(), *layout.fixtures.values()):
            numbers += [*pose.position, pose.yaw]
        numbers += [layout.top_drawer, *layout.arm_offset]
    return hashlib.sha256(np.round(numbers, 9).tobytes()).hexdigest()[:16]


def first_layouts() -> list[WideLayout]:
    """Three of each task."""
    return [sample_wide_layout(Stream.EVALUATION, task, index, 0) for task in range(NUM_TASKS) for index in range(3)]


def between(layout: WideLayout, name: str, other: str) -> float:
    return float(np.linalg.norm(layout.objects[name].position[:2] - layout.objects[other].position[:2]))


ALL = pytest.mark.parametrize("task_id", range(NUM_TASKS))


@ALL
def test_nothing_overlaps(task_id: int) -> None:
    for layout in layouts(task_id):
        grounded = [name for name in layout.objects if name not in layout.stacked]
        for name, other in itertools.combinations(grounded, 2):
            assert between(layout, name, other) >= draft.RADII[name] + draft.RADII[other] + draft.NEIGHBOUR_GAP
        footprints = {
            draft.CABINET: geometry.CABINET_OPEN if task_id == 4 else geometry.CABINET_CLOSED,
            draft.STOVE: geometry.STOVE_TOP,
        }
        for name, (fixture, footprint) in itertools.product(grounded, footprints.items()):
            local = layout.fixtures[fixture].to_local(layout.objects[name].position)
            assert geometry.distance_to_rectangle(local, footprint) >= draft.RADII[name] + draft.GAP


@ALL
def test_everything_is_within_reach_and_on_the_table(task_id: int) -> None:
    for layout in layouts(task_id):
        assert set(layout.objects) == {TARGET, DISTRACTOR, PLATE, RAMEKIN, COOKIES}
        for name in (TARGET, PLATE):
            assert np.linalg.norm(layout.objects[name].position[:2] - draft.BASE) <= draft.MAX_REACH
        for name, pose in layout.objects.items():
            if layout.stacked.get(name) not in (draft.CABINET, draft.STOVE, draft.TOP_DRAWER):
                assert (pose.position[:2] >= draft.REGION_LOW).all()
                assert (pose.position[:2] <= draft.REGION_HIGH).all()
                assert np.linalg.norm(pose.position[:2] - draft.BASE) >= draft.MIN_REACH


@ALL
def test_target_and_plate_are_in_sight(task_id: int) -> None:
    for layout in layouts(task_id):
        for name in (TARGET, PLATE):
            centre = layout.objects[name].position + np.array([0.0, 0.0, 0.03])
            assert geometry.in_picture(centre)
            if layout.stacked.get(name) not in (draft.CABINET, draft.TOP_DRAWER):
                assert not geometry.is_hidden_by_cabinet(centre, layout.fixtures[draft.CABINET])


@ALL
def test_the_goal_is_not_reached_at_the_start(task_id: int) -> None:
    assert min(between(layout, TARGET, PLATE) for layout in layouts(task_id)) > 0.10


RELATIONS = {
    0: lambda w: (
        geometry.distance_to_segment(*(w.objects[n].position[:2] for n in (TARGET, PLATE, RAMEKIN))) <= 0.0201
        and geometry.distance_to_segment(*(w.objects[n].position[:2] for n in (DISTRACTOR, PLATE, RAMEKIN))) >= 0.16
    ),
    1: lambda w: between(w, TARGET, RAMEKIN) <= 0.1501 and between(w, DISTRACTOR, RAMEKIN) >= 0.25,
    2: lambda w: (
        np.abs(w.objects[TARGET].position[:2] - draft.TABLE_CENTRE).max() <= 0.0901
        and np.linalg.norm(w.objects[DISTRACTOR].position[:2] - draft.TABLE_CENTRE) >= 0.22
    ),
    3: lambda w: w.stacked == {TARGET: COOKIES, DISTRACTOR: draft.CABINET} and between(w, TARGET, COOKIES) < 0.009,
    4: lambda w: w.stacked == {TARGET: draft.TOP_DRAWER, DISTRACTOR: draft.CABINET} and w.top_drawer < -0.13,
    5: lambda w: w.stacked == {TARGET: RAMEKIN, DISTRACTOR: COOKIES} and between(w, TARGET, RAMEKIN) < 0.009,
    6: lambda w: between(w, TARGET, COOKIES) <= 0.1551 and w.stacked == {DISTRACTOR: draft.STOVE},
    7: lambda w: w.stacked == {TARGET: draft.STOVE, DISTRACTOR: draft.CABINET},
    8: lambda w: between(w, TARGET, PLATE) <= 0.1681 and between(w, DISTRACTOR, PLATE) >= 0.25,
    9: lambda w: w.stacked == {TARGET: draft.CABINET, DISTRACTOR: draft.STOVE},
}


@ALL
def test_the_instruction_is_true(task_id: int) -> None:
    assert all(RELATIONS[task_id](layout) for layout in layouts(task_id))


@ALL
def test_layouts_spread(task_id: int) -> None:
    """Several times the 1 cm of the official init states, for what is grasped and for where it goes."""
    spread = {n: np.array([w.objects[n].position[:2] for w in layouts(task_id)]).std(axis=0) for n in (TARGET, PLATE)}
    assert spread[TARGET].min() > 0.015
    assert spread[TARGET].max() > (0.02 if task_id == 4 else 0.03)
    assert spread[PLATE].min() > 0.06


def test_layouts_are_the_published_ones() -> None:
    """The held-out layouts: this changes only together with every table measured on them."""
    assert digest(first_layouts()) == "8e0af48821a93507"
    assert [digest(layouts(task_id)) for task_id in range(NUM_TASKS)] == [
        "ea733b2317b6806b", "0f331d16aeb440b1", "77d9cd24767319ae", "395417bb86ba532d", "22311d5fe8e82ffb",
        "9a6157cae50ea349", "21d3d5afef86ac30", "536f123a57ce24ef", "df2af90bbbf3f270", "f1dfb367aca228d6",
    ]  # fmt: skip


def test_same_layouts_in_another_process(repo_root: object) -> None:
    code = "import numpy as np; np.random.seed(5)\n"
    code += "from tests.envs import test_wide_layouts as t; print(t.digest(t.first_layouts()))"
    told = subprocess.run([sys.executable, "-c", code], cwd=str(repo_root), capture_output=True, text=True, check=True)
    assert told.stdout.strip() == digest(first_layouts())


def test_streams_indices_and_seeds_differ() -> None:
    keys = [(Stream.EVALUATION, 0, 0), (Stream.TRAINING, 0, 0), (Stream.EVALUATION, 1, 0), (Stream.EVALUATION, 0, 1)]
    places = [tuple(sample_wide_layout(s, 0, index, seed).objects[PLATE].position) for s, index, seed in keys]
    assert len(set(places)) == len(keys)


@pytest.mark.parametrize(("task_id", "index", "seed"), [(10, 0, 0), (-1, 0, 0), (0, -1, 0), (0, 0, -1)])
def test_bad_numbers_raise(task_id: int, index: int, seed: int) -> None:
    with pytest.raises(ValueError, match="expected task 0"):
        sample_wide_layout(Stream.EVALUATION, task_id, index, seed)


def test_hidden_by_cabinet() -> None:
    cabinet = geometry.Pose(np.array([0.0, 0.0, 0.0]), 0.3)
    assert geometry.is_hidden_by_cabinet(np.array([-0.3, 0.0, 0.92]), cabinet)
    assert not geometry.is_hidden_by_cabinet(np.array([0.3, 0.0, 0.92]), cabinet)
    assert not geometry.is_hidden_by_cabinet(np.array([-0.3, 0.6, 0.92]), cabinet)


def test_frames_are_inverse() -> None:
    pose = geometry.Pose(np.array([0.1, -0.2, 0.0]), 2.5)
    point = np.array([0.3, 0.4])
    np.testing.assert_allclose(pose.to_local(pose.to_world(point)), point, atol=1e-12)
