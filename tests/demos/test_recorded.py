"""What a collection writes: files, rows, pictures and labels, and that the trainer reads them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from runners.demos.dataset import (
    OFFSETS,
    POINTS,
    SCHEMA,
    VIEWS,
    EpisodeMeta,
    decode_picture,
    find_episodes,
    read_episode,
    read_info,
)
from runners.demos.episode import TAIL_STEPS
from tests.demos.collection import COLLECTION, Seen
from vlacache.train.reader import read_demos

pytestmark = pytest.mark.sim


@pytest.fixture(scope="module")
def episode(root: Path) -> pa.Table:
    return read_episode(root, 0)


def column(table: pa.Table, name: str) -> np.ndarray:
    return np.array(table.column(name).to_pylist())


def test_files_and_meta(root: Path) -> None:
    info = read_info(root)
    assert info is not None
    assert (info["fps"], info["total_episodes"], info["total_tasks"]) == (20, 2, 2)
    assert set(info["features"]) == set(SCHEMA.names)
    assert info["collection"]["placement"] == "wide"
    assert "codebase_version" not in info, "lerobot would take it for a folder that it can load"
    assert info["collection"]["assets"].startswith("builtin@")
    lines = [json.loads(line) for line in (root / "meta/episodes.jsonl").read_text().splitlines()]
    assert [(line["episode_index"], line["task_index"]) for line in lines] == [(0, 7), (1, 2)]
    assert [EpisodeMeta(**line) for line in lines] == list(find_episodes(root).values())
    tasks = [json.loads(line) for line in (root / "meta/tasks.jsonl").read_text().splitlines()]
    assert {t["task_index"]: t["task"].split()[-9] for t in tasks}.keys() == {2, 7}
    assert info["total_frames"] == sum(line["length"] for line in lines)


def test_rows(root: Path, episode: pa.Table) -> None:
    meta = find_episodes(root)[0]
    assert episode.schema.names == SCHEMA.names
    assert episode.num_rows == meta.length == meta.success_row + TAIL_STEPS + 1
    np.testing.assert_array_equal(column(episode, "frame_index"), np.arange(meta.length))
    np.testing.assert_allclose(column(episode, "timestamp"), np.arange(meta.length) / 20, rtol=1e-6)
    success = column(episode, "success")
    assert success.argmax() == meta.success_row
    action, executed = column(episode, "action"), column(episode, "executed_action")
    assert np.abs(action).max() <= 1
    assert np.abs(executed).max() <= 1
    np.testing.assert_array_equal(action[:, 6], executed[:, 6])
    disturbed = np.abs(action - executed).max(axis=1) > 0
    assert disturbed[: meta.success_row + 1].mean() > 0.9
    assert not disturbed[meta.success_row + 1 :].any()


def test_pictures_are_every_stride_until_success(root: Path, episode: pa.Table) -> None:
    meta = find_episodes(root)[0]
    stride = COLLECTION.recording.frame_stride
    for view in VIEWS:
        cells = episode.column(f"observation.images.{view}").to_pylist()
        rows = [row for row, cell in enumerate(cells) if cell is not None]
        assert rows == list(range(rows[0], meta.success_row + 1, stride))
        assert rows[0] < stride
        assert len(rows) == meta.num_frames
        picture = decode_picture(cells[rows[0]])
        assert (picture.shape, picture.dtype) == ((256, 256, 3), np.uint8)
        assert picture.std() > 5


def test_labels(root: Path, episode: pa.Table) -> None:
    """The bowl ends on the plate, in the hand until shortly before, and in the picture of the front camera."""
    target, goal = column(episode, "aux.target_offset"), column(episode, "aux.goal_offset")
    success_row = find_episodes(root)[0].success_row
    assert np.linalg.norm(target[0] - goal[0]) > 0.1
    assert np.linalg.norm((target - goal)[success_row, :2]) < 0.03
    assert np.linalg.norm(target[success_row]) < 0.1
    pixels = column(episode, "aux.agentview.target")
    assert (pixels >= 0).all()
    assert (pixels <= 1).all()
    assert np.abs(pixels[0] - pixels[-1]).max() > 0.05


def test_the_trainer_reads_what_was_recorded(root: Path, seen: Seen) -> None:
    """State, action, pictures and every auxiliary number, each in the column of its own name."""
    demos = read_demos([root], VIEWS)
    recorded = [seen.rows[index].columns for index in sorted(seen.rows)]
    joined = {name: [value for columns in recorded for value in columns[name]] for name in recorded[0]}
    assert demos.num_episodes == 2
    instructions = [find_episodes(root)[index].tasks[0] for index in (0, 1)]
    assert [demos.instructions[task] for task in demos.task[[0, -1]]] == instructions
    np.testing.assert_array_equal(demos.state, np.array(joined["observation.state"], np.float32))
    np.testing.assert_array_equal(demos.action, np.array(joined["action"], np.float32))
    shown = [row for row, cell in enumerate(joined[f"observation.images.{VIEWS[0]}"]) if cell is not None]
    np.testing.assert_array_equal(demos.frame_rows, shown)
    for (frame, row), (number, view) in itertools.product(enumerate(shown), enumerate(VIEWS)):
        raw = seen.pictures[joined[f"observation.images.{view}"][row]["bytes"]]
        read = decode_picture({"bytes": demos.picture(frame, number)})
        assert np.abs(read.astype(int) - raw).mean() < 3
    sizes = {f"aux.{view}.{point}": 2 for view in VIEWS for point in POINTS} | {f"aux.{p}_offset": 3 for p in OFFSETS}
    assert set(demos.aux_names) == {f"{name}.{i}" for name, size in sizes.items() for i in range(size)}
    assert len(demos.aux_names) == 18 and np.isfinite(demos.aux).any(axis=0).all()
    for column, name in enumerate(demos.aux_names):
        name, _, place = name.rpartition(".")
        cells = [joined[name][row] for row in shown]  # None where it is not in the picture
        values = np.array([np.nan if cell is None else cell[int(place)] for cell in cells], np.float32)
        np.testing.assert_array_equal(demos.aux[:, column], values)
