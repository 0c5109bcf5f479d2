"""Demos come back from disk as they were written, also from packed files."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.train.synthetic import TASKS, VIEWS, jpeg, picture, write_lerobot
from vlacache.models.preprocess import frames_from_observation
from vlacache.train.demos import Demos, concatenate
from vlacache.train.facts import collections_of
from vlacache.train.frames import FrameStore
from vlacache.train.packing import read_pack, recompress, write_packs
from vlacache.train.reader import read_demos, read_lerobot
from vlacache.types import Observation


def test_rows_and_pictures_come_back(folder: Path, demos: Demos) -> None:
    tables = [pq.read_table(p) for p in sorted((folder / "data" / "chunk-000").iterdir())]
    assert demos.views == VIEWS and demos.instructions == TASKS and demos.num_episodes == len(tables) == 4
    assert len(demos.state) == sum(t.num_rows for t in tables)
    second = tables[1]
    first_row = tables[0].num_rows
    assert np.array_equal(
        demos.action[first_row : first_row + 3], np.stack(second["action"].to_pylist()[:3]).astype("f4")
    )
    frame = int(np.searchsorted(demos.frame_rows, first_row))
    assert demos.frame_rows[frame] == first_row and demos.task[first_row] == 1
    assert demos.picture(frame, 1) == second["observation.images.wrist"][0].as_py()["bytes"]
    column = demos.aux_names.index("aux.wrist.target.1")
    assert demos.aux[frame, column] == pytest.approx(second["aux.wrist.target"][0].as_py()[1])
    relative = demos.aux_names.index("aux.target_offset.0")
    assert np.isnan(demos.aux[0, relative]) and demos.aux[frame, relative] == pytest.approx(0.1)


def test_chunks_stop_at_the_end_of_their_episode(demos: Demos) -> None:
    last_frames = [int(np.flatnonzero(demos.episode[demos.frame_rows] == e)[-1]) for e in range(2)]
    actions, valid = demos.chunks(np.array([0, *last_frames]), 8)
    assert valid[0].all() and np.array_equal(actions[0], demos.action[:8])
    assert not valid[1].all() and valid[1, 0] and (np.diff(valid.astype(int), axis=1) <= 0).all()
    end = np.flatnonzero(demos.episode == 0)[-1]
    assert np.array_equal(actions[1, valid[1].sum() :], np.repeat(demos.action[end][None], 8 - valid[1].sum(), 0))


def assert_equal(ours: Demos, theirs: Demos) -> None:
    for name in Demos.__dataclass_fields__:
        a, b = getattr(ours, name), getattr(theirs, name)
        if name == "info":
            continue
        if isinstance(a, np.ndarray):
            assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), name
        else:
            assert a == b, name


def test_packed_files_hold_the_same(demos: Demos, tmp_path: Path) -> None:
    paths = write_packs(demos, tmp_path, max_bytes=20_000)
    assert len(paths) > 1 and all(p.stat().st_size < 24_000 for p in paths)
    assert_equal(demos, read_demos([tmp_path], demos.views))
    assert_equal(demos, concatenate([read_pack(p) for p in paths]))


def test_an_older_pack_is_never_mixed_in(demos: Demos, tmp_path: Path) -> None:
    write_packs(demos, tmp_path, max_bytes=20_000)
    with pytest.raises(ValueError, match="would be read as well"):
        write_packs(demos, tmp_path)
    other = replace(demos, action=demos.action + 0.01)
    write_packs(other, tmp_path / "other")
    shutil.copy(tmp_path / "other" / "part-000.demos.safetensors", tmp_path)
    with pytest.raises(ValueError, match=r"expected parts 0 \.\. \d of set"):
        read_demos([tmp_path], VIEWS)


def test_a_missing_or_doubled_part_is_noticed(demos: Demos, tmp_path: Path) -> None:
    *_, last = write_packs(demos, tmp_path, max_bytes=20_000)
    shutil.copy(last, tmp_path / "copy.demos.safetensors")
    with pytest.raises(ValueError, match="once each"):
        read_demos([tmp_path], VIEWS)
    last.unlink()
    (tmp_path / "copy.demos.safetensors").unlink()
    with pytest.raises(ValueError, match="copy the missing ones"):
        read_demos([tmp_path], VIEWS)
    whole = write_packs(demos, tmp_path / "whole")
    shutil.copy(whole[0], tmp_path / "whole-000.demos.safetensors")
    for path in tmp_path.glob("part-*"):
        path.unlink()
    assert_equal(demos, read_demos([tmp_path], VIEWS))


def rewrite(path: Path, *, without_part: bool = False, damage: float = 0.0) -> None:
    """The same file as an older version wrote it, or with one changed number."""
    with safe_open(path, framework="numpy") as file:
        arrays, metadata = {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata())  # noqa: SIM118
    if without_part:
        del metadata["part"]
    arrays["state"][0, 0] += damage
    save_file(arrays, path, metadata=metadata)


def test_packs_of_the_version_before_are_readable_but_not_beside_newer_ones(demos: Demos, tmp_path: Path) -> None:
    paths = write_packs(demos, tmp_path, max_bytes=20_000)
    for path in paths:
        rewrite(path, without_part=True)
    assert_equal(demos, read_demos([tmp_path], VIEWS))
    write_packs(demos, tmp_path, name="newer")
    with pytest.raises(ValueError, match="older version lie beside newer ones"):
        read_demos([tmp_path], VIEWS)


def test_a_changed_pack_is_refused(demos: Demos, tmp_path: Path) -> None:
    (path,) = write_packs(demos, tmp_path)
    rewrite(path, damage=1.0)
    with pytest.raises(ValueError, match="damaged"):
        read_pack(path)


def test_a_run_knows_how_its_demos_were_collected(demos: Demos, tmp_path: Path) -> None:
    """The same for folders, for packs of them and for packs joined with a folder; synthetic sets have no settings."""
    sets = [
        replace(demos, info={"total_episodes": 4, "collection": {"seed": seed, "tasks": [0, 1]}}) for seed in (0, 5)
    ]
    wanted = [{"episodes": 4, "seed": seed, "tasks": [0, 1]} for seed in (0, 5)]
    joined = concatenate(sets)
    assert collections_of(joined.info) == wanted
    write_packs(joined, tmp_path, max_bytes=20_000)
    packed = read_demos([tmp_path], VIEWS)
    assert collections_of(packed.info) == wanted
    assert collections_of(concatenate([packed, sets[0]]).info) == wanted
    smaller = collections_of(recompress(joined, 56, 60).info)
    assert [entry.pop("recompressed") for entry in smaller] == [{"image_size": 56, "quality": 60}] * 2
    assert smaller == wanted
    assert collections_of(demos.info) == []


def test_recompressed_pictures_are_smaller_and_alike(demos: Demos) -> None:
    small = recompress(demos, 56, 60)
    assert len(small.jpeg) < 0.9 * len(demos.jpeg) and np.array_equal(small.action, demos.action)
    ours, theirs = FrameStore(demos, 56).get(3, 0).astype(int), FrameStore(small, 56).get(3, 0).astype(int)
    assert np.abs(ours - theirs).mean() < 6


def test_one_view_only(demos: Demos) -> None:
    wrist = demos.select(["wrist"])
    assert wrist.views == ("wrist",) and wrist.picture(5, 0) == demos.picture(5, 1)
    assert not any("agentview" in name for name in wrist.aux_names) and len(wrist.aux_names) == demos.aux.shape[1] - 2
    with pytest.raises(ValueError, match=r"expected pictures of \['front'\]"):
        demos.select(["front"])


def test_training_sees_the_pixels_that_inference_sees() -> None:
    pixels = picture(np.array([0.4, 0.6]), 64)
    data = jpeg(pixels)
    with Image.open(io.BytesIO(data)) as file:
        decoded = np.array(file.convert("RGB"))
    observation = Observation({"agentview": decoded}, "x", None, 0)
    inference = frames_from_observation(observation, ("agentview",), 56)[0].permute(1, 2, 0)
    buffer, offsets = np.frombuffer(data, np.uint8), np.array([0, len(data)])
    zeros = np.zeros((1, 7), np.float32)
    single = Demos(
        ("agentview",), ("x",), zeros, zeros, np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64),
        buffer, offsets,
    )  # fmt: skip
    difference = torch.from_numpy(FrameStore(single, 56).get(0, 0).astype(int)) - inference.int()
    assert difference.abs().max() <= 1


def test_sets_are_joined_by_instruction(tmp_path: Path, demos: Demos) -> None:
    other = read_lerobot(write_lerobot(tmp_path / "b", seed=1, episodes=3))
    both = concatenate([demos, other])
    assert (
        both.instructions == TASKS and both.num_episodes == 7 and both.num_frames == demos.num_frames + other.num_frames
    )
    assert both.picture(demos.num_frames + 2, 1) == other.picture(2, 1)
    assert np.array_equal(both.chunks(np.array([demos.num_frames]), 8)[0], other.chunks(np.array([0]), 8)[0])


def test_a_set_of_some_tasks_keeps_their_numbers_on_disk_only(folder: Path, tmp_path: Path) -> None:
    """``collect_demos.py --tasks 4 9`` leaves gaps in the task numbers."""
    shutil.copytree(folder, tmp_path / "set")
    tasks = tmp_path / "set" / "meta" / "tasks.jsonl"
    tasks.write_text(tasks.read_text().replace('"task_index": 1', '"task_index": 9'))
    for file in (tmp_path / "set" / "data").rglob("*.parquet"):
        table = pq.read_table(file)
        place = table.column_names.index("task_index")
        numbers = np.where(table["task_index"].to_numpy() == 1, 9, 0)
        pq.write_table(table.set_column(place, "task_index", pa.array(numbers)), file)
    some, all_tasks = read_lerobot(tmp_path / "set"), read_lerobot(folder)
    assert some.instructions == all_tasks.instructions
    assert np.array_equal(some.task, all_tasks.task)
    tasks.write_text(tasks.read_text().replace('"task_index": 9', '"task_index": 5'))
    with pytest.raises(ValueError, match=r"expected task_index among \[0, 5\]"):
        read_lerobot(tmp_path / "set")


def test_a_pack_with_a_number_that_is_none_is_refused(demos: Demos, tmp_path: Path) -> None:
    """As versions that did not look wrote them."""
    [path] = write_packs(demos, tmp_path)
    rewrite(path, damage=np.nan)
    with pytest.raises(ValueError, match=r"part-000.*: expected finite numbers in state"):
        read_demos([tmp_path], VIEWS)


def test_a_foreign_file_is_no_pack(tmp_path: Path) -> None:
    (tmp_path / "x.demos.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"expected a file of scripts/pack_demos.py"):
        read_demos([tmp_path], VIEWS)
