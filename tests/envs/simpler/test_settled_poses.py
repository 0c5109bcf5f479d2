"""Where objects rest: against the original's recorded layouts, and the poses that come as data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runners.assets.maniskill import ManiSkillAssets
from runners.envs.simpler import rest_poses
from runners.envs.simpler.rest_poses import Drop, DropCase, known_rest, write_table

#: Of the recordings: z mm, aside mm, degrees; the eggplant and its target plane tumble.
TOLERANCE, TUMBLING = (0.1, 1.0, 1.0), (3.0, 3.0, 5.0)
PICKS = {"horizontal": 0, "vertical": 1, "standing": 2}


@pytest.fixture(scope="module")
def recorded(oracles_dir: Path) -> dict[str, dict]:
    return json.loads((oracles_dir / "simpler/layouts_settled.json").read_text(encoding="utf-8"))


def google_layout(name: str) -> tuple[int, int]:
    """Task and layout of ``move_near/07``, ``place_apple/x0y1`` or ``pick_coke_can/vertical/x2y1``."""
    family, *how, spot = name.split("/")
    if family == "move_near":
        return 3, int(spot)
    column, row = int(spot[1]), int(spot[3])
    return (10, 3 * column + row) if family == "place_apple" else (PICKS[how[0]], 5 * column + row)


def misses(poses, expected, tolerance) -> list[str]:
    """Names of the objects that lie elsewhere."""
    from runners.envs.simpler.replay import angle_between

    z_mm, aside_mm, degrees = tolerance
    missed = []
    for name, pose in expected.items():
        offset = 1e3 * np.abs(poses[name].p - np.array(pose[:3]))
        angle = angle_between(poses[name].q.astype(float), np.array(pose[3:]))
        if offset[2] > z_mm or np.linalg.norm(offset[:2]) > aside_mm or angle > degrees:
            missed.append(name)
    return missed


@pytest.mark.simpler
@pytest.mark.parametrize(("family", "count"), [("move_near", 30), ("pick_coke_can", 38), ("place_apple", 4)])
def test_google_objects_rest_where_the_originals_do(maniskill: ManiSkillAssets, recorded, family, count) -> None:
    from runners.envs.simpler.google_settle import settle_layout
    from runners.envs.simpler.google_tasks import GOOGLE_TASKS, VM_SUITE, task_layouts

    names = [name for name in recorded if name.startswith(family)]
    assert len(names) == count
    for name in names:
        task_id, index = google_layout(name)
        rest = settle_layout(maniskill.root, GOOGLE_TASKS[task_id], task_layouts(VM_SUITE, task_id)[index])
        assert misses(rest.poses, recorded[name]["poses"], TOLERANCE) == [], name


@pytest.mark.simpler
def test_the_eggplant_rests_where_the_original_does(maniskill: ManiSkillAssets, recorded) -> None:
    from runners.envs.simpler.bridge import BridgeStart
    from runners.envs.simpler.bridge_tasks import BRIDGE_TASKS

    names = [name for name in recorded if name.startswith("widowx_eggplant")]
    assert len(names) == 12
    for name in names:
        episode = BridgeStart(maniskill.root, BRIDGE_TASKS[3]).start(int(name.rsplit("/", 1)[1]))
        poses = {body: entity.pose for body, entity in episode.objects.items()}
        assert episode.settle_phases == recorded[name]["settle_calls"]
        assert misses(poses, recorded[name]["poses"], TUMBLING) == [], name


@pytest.mark.simpler
def test_poses_that_come_as_data_hold_for_a_second(maniskill: ManiSkillAssets) -> None:
    from runners.envs.simpler.bridge import BridgeStart
    from runners.envs.simpler.bridge_tasks import BRIDGE_TASKS

    episode = BridgeStart(maniskill.root, BRIDGE_TASKS[3]).start(12)
    before = {name: entity.pose.p for name, entity in episode.objects.items()}
    for _ in range(5):
        episode.step(np.array([0.0] * 6 + [1.0]))
    for name, entity in episode.objects.items():
        assert np.linalg.norm(entity.pose.p - before[name]) < 1e-4, name


@pytest.fixture
def case(tmp_path: Path) -> DropCase:
    for name in ("stage.glb", "can.obj", "sink.obj"):
        (tmp_path / name).write_text(name)
    can = Drop("can", tmp_path / "can.obj", (0.1, 0.2), (1.0, 0.0, 0.0, 0.0), 50.0)
    still = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    return DropCase(tmp_path / "stage.glb", still, still, (can,), sim_hz=513, contact_offset=0.005)


def test_whatever_decides_changes_the_key(case: DropCase, tmp_path: Path) -> None:
    (can,) = case.drops
    (tmp_path / "other.obj").write_text("other")
    others = [
        replace(case, stage=tmp_path / "other.obj"),
        replace(case, stage_pose=(0.0, 0.0, 0.01, 1.0, 0.0, 0.0, 0.0)),
        replace(case, sim_hz=500),
        replace(case, contact_offset=0.02),
        replace(case, fixed=replace(can, name="sink"), fixed_position=(0.0, 0.0, 1.0)),
        *(
            replace(case, drops=(replace(can, **change),))
            for change in (
                {"xy": (0.1, 0.21)},
                {"density": 200.0},
                {"turn": (0.0, 1.0, 0.0, 0.0)},
                {"collision": tmp_path / "other.obj"},
            )
        ),
    ]
    assert len({case.key, *(other.key for other in others)}) == 1 + len(others)
    # A name and rounding do not decide.
    assert replace(case, drops=(replace(can, name="baked_can", xy=(0.1 + 1e-12, 0.2)),)).key == case.key


def test_a_layout_without_an_entry_is_not_known(case: DropCase) -> None:
    assert known_rest(case) is None


def test_written_poses_are_found(case: DropCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_poses, "REST_FILE", tmp_path / "rest.json")
    rest_poses._table.cache_clear()
    pose = [0.1, 0.2, 0.9, 1.0, 0.0, 0.0, 0.0]
    write_table({case.key: ([pose], [0.5, 0.5])})
    rest = known_rest(case)
    rest_poses._table.cache_clear()
    assert rest is not None
    assert rest.poses == {"can": tuple(pose)}
    assert rest.phases == [0.5, 0.5]
