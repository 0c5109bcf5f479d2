"""Demonstrations from the simulator to the disk and back."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runners.demos import collect as collect_module
from runners.demos import episode as episode_module
from runners.demos.collect import Collection, collect
from runners.demos.dataset import (
    OFFSETS,
    POINTS,
    SCHEMA,
    VIEWS,
    DemoRows,
    EpisodeMeta,
    decode_picture,
    encode_picture,
    episode_path,
    find_episodes,
    read_episode,
    read_info,
    write_episode,
    write_meta,
)
from runners.demos.episode import TAIL_STEPS, DemoRecorder, Recording
from tests.demos.test_pool import group_is_gone, until
from vlacache.train.reader import read_demos

pytestmark = pytest.mark.sim

COLLECTION = Collection(
    suite="libero_spatial",
    tasks=(7, 2),
    demos_per_task=1,
    seed=3,
    placement="wide",
    recording=Recording(frame_stride=20, jitter=("colour", "light", "camera")),
)


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@dataclass
class Seen:
    """What a collection wrote, as it was in memory: rows by episode, pictures by their JPEG."""

    rows: dict[int, DemoRows]
    pictures: dict[bytes, np.ndarray]


@pytest.fixture(scope="module")
def seen() -> Seen:
    return Seen({}, {})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, seen: Seen) -> Path:
    folder = tmp_path_factory.mktemp("demos")

    def write(root: Path, meta: EpisodeMeta, rows: DemoRows) -> None:
        seen.rows[meta.episode_index] = rows
        write_episode(root, meta, rows)

    def encode(picture: np.ndarray) -> dict[str, Any]:
        cell = encode_picture(picture)
        seen.pictures[cell["bytes"]] = picture.copy()
        return cell

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect_module, "write_episode", write)
        patch.setattr(episode_module, "encode_picture", encode)
        collect(COLLECTION, folder, progress=lambda line: None)
    return folder


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


def test_same_seed_same_bytes_also_in_pieces(root: Path, tmp_path: Path) -> None:
    """One demo, a torn file of a killed writer, then the rest: the same files as in one go."""
    collect(COLLECTION, tmp_path, progress=lambda line: None)
    path = episode_path(tmp_path, 1)
    path.unlink()
    torn = path.with_name(f".{path.stem}.tmp{path.suffix}")
    torn.write_bytes(b"half")
    cost = collect(COLLECTION, tmp_path, progress=lambda line: None)
    assert cost.num_demos == 1
    assert not torn.exists()
    assert digests(tmp_path) == digests(root)


COMMAND = """
import sys
from pathlib import Path
from runners.demos.collect import collect
from tests.demos.test_collect import COLLECTION
if __name__ == "__main__":
    collect(COLLECTION, Path(sys.argv[1]), workers=2)
"""


def test_two_workers_killed_with_their_parent_then_continued_write_the_same_bytes(
    root: Path, tmp_path: Path, repo_root: Path
) -> None:
    script, target = tmp_path / "job.py", tmp_path / "set"
    script.write_text(COMMAND)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(repo_root)}
    parent = subprocess.Popen(
        [sys.executable, str(script), str(target)], cwd=repo_root, env=environment, start_new_session=True
    )
    try:
        assert until(lambda: bool(list(target.rglob("episode_*.parquet"))), seconds=400), "nothing was recorded"
        parent.kill()
        parent.wait()
        assert until(lambda: group_is_gone(parent.pid)), "a worker outlived its parent"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
    subprocess.run([sys.executable, str(script), str(target)], cwd=repo_root, env=environment, check=True)
    assert digests(target) == digests(root)


def test_finished_collection_makes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect_module._Worker, "record", lambda *_: pytest.fail("recorded again"))
    assert collect(COLLECTION, root, progress=lambda line: None).num_demos == 0


def test_the_programs_that_recorded_are_named(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oldest first; one that records nothing is not named, as settings that record nothing bind nobody."""

    def commits_after(commit: str | None) -> list[str]:
        monkeypatch.setattr(collect_module, "git_commit", lambda: commit)
        collect(COLLECTION, tmp_path, progress=lambda line: None)
        info = read_info(tmp_path)
        assert info is not None
        return info["commits"]

    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    first = read_info(root)["commits"]
    assert len(first) == 1 and commits_after("a" * 40) == first
    episode_path(tmp_path, 1).unlink()
    assert commits_after("a" * 40) == [*first, "a" * 40]
    episode_path(tmp_path, 1).unlink()
    assert commits_after("a" * 40) == [*first, "a" * 40]
    episode_path(tmp_path, 1).unlink()
    assert commits_after(None) == [*first, "a" * 40, "unknown"]


def test_other_settings_are_refused(root: Path) -> None:
    for other in (replace(COLLECTION, seed=4), replace(COLLECTION, placement="official")):
        with pytest.raises(ValueError, match=r"other settings \((seed|placement): "):
            collect(other, root, progress=lambda line: None)


def test_settings_without_a_demo_bind_nobody(root: Path, tmp_path: Path) -> None:
    """A command that was stopped before its first demo may have been a mistake."""
    write_meta(tmp_path, {}, {"seed": 4}, fps=20)
    collect(COLLECTION, tmp_path, progress=lambda line: None)
    assert digests(tmp_path) == digests(root)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": (11,)}, r"tasks: expected some of 0 \.\. 9 \(libero_spatial\), each once, got \[11\]"),
        ({"tasks": (0, 0)}, r"each once, got \[0, 0\]"),
        ({"tasks": ()}, "tasks: expected some of"),
        ({"demos_per_task": 0}, "at least 1"),
        ({"seed": -1}, "seed of at least 0"),
        ({"seed": 2**31 - 1}, "kept for validation"),
        ({"suite": "libero_goal"}, "placement=wide: written for libero_spatial"),
        ({"suite": "libero_nowhere"}, "suite: expected one of"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_written(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(COLLECTION, **changes)


@pytest.mark.parametrize(
    "words",
    [
        ["--tasks", "11"],
        ["--tasks", "0", "0"],
        ["--demos-per-task", "0"],
        ["--workers", "0"],
        ["--noise", "nan"],
        ["--seed", "-1"],
        ["--suite", "libero_goal", "--placement", "wide"],
        ["--suite", "libero_10"],
        ["--novice", "nowhere"],
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(
    words: list[str], tmp_path: Path, repo_root: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["collect_demos.py", "--output", str(tmp_path / "set"), *words])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(repo_root / "scripts" / "collect_demos.py"), run_name="__main__")
    error = capsys.readouterr().err
    assert left.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "set").exists()


def command(words: list[str], repo_root: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["collect_demos.py", *words])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(repo_root / "scripts" / "collect_demos.py"), run_name="__main__")
    assert isinstance(left.value.code, int)
    return left.value.code


def test_the_command_says_that_everything_is_there(
    root: Path, repo_root: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--placement", "wide", "--tasks", "7", "2", "--demos-per-task", "1", "--seed", "3", "--frame-stride", "20"]
    words += ["--jitter", "colour", "light", "camera", "--output", str(root), "--workers", "1"]
    assert command(words, repo_root, monkeypatch) == 0
    assert capsys.readouterr().out == f"{root}: 2 of 2 demos there, nothing to do\n"


@pytest.mark.parametrize("name", ["data/chunk-000/episode_000000.parquet", "meta/info.json"])
def test_a_folder_of_another_program_is_left_alone(
    name: str, tmp_path: Path, repo_root: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True)
    if file.suffix == ".json":
        file.write_text('{"codebase_version": "v2.1"}')
    else:
        pq.write_table(pa.table({"action": [1.0]}), file)
    before = digests(tmp_path)
    assert command(["--output", str(tmp_path), "--workers", "1"], repo_root, monkeypatch) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}") and error.count("\n") == 1 and "of collect_demos.py" in error
    assert digests(tmp_path) == before


def test_blocks_are_balanced_over_tasks() -> None:
    collection = replace(COLLECTION, tasks=(0, 5), demos_per_task=12)
    blocks = collect_module._missing_blocks(collection, known={0, 3})
    assert [(task, numbers[0], len(numbers)) for task, numbers in blocks] == [
        (0, 1, 9),
        (5, 0, 9),
        (0, 10, 2),
        (5, 10, 2),
    ]
    numbers = {collection.episode_index(task, n) for task, block in blocks for n in block}
    assert numbers == set(range(24)) - {0, 3}


def test_settings_are_json() -> None:
    settings = collect_module._settings(COLLECTION)
    assert json.loads(json.dumps(settings)) == settings
    assert settings["recording"]["noise"] == asdict(COLLECTION.recording.noise)


def test_a_demo_that_fails_does_not_stop_the_others(
    tmp_path: Path, repo_root: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Task 2 fails: task 7 behind it is made all the same, the command names what is missing and ends with 1."""
    record = DemoRecorder.record

    def fail_task_2(self: DemoRecorder, *, index: int, seed: int) -> Any:
        return None if self._env.spec.task_id == 2 else record(self, index=index, seed=seed)

    monkeypatch.setattr(DemoRecorder, "record", fail_task_2)
    words = ["--tasks", "2", "7", "--demos-per-task", "1", "--frame-stride", "20", "--workers", "1"]
    monkeypatch.setattr(sys, "argv", ["collect_demos.py", "--output", str(tmp_path), *words])
    for _ in range(2):  # the same command again knows no better
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(repo_root / "scripts" / "collect_demos.py"), run_name="__main__")
        error = capsys.readouterr().err
        assert left.value.code == 1
        assert error.startswith("error: incomplete: libero_spatial, seed 0: ") and "for task 2: demo 0;" in error
        assert {index: meta.task_index for index, meta in find_episodes(tmp_path).items()} == {1: 7}
