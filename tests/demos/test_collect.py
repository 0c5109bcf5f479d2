"""Collecting: in pieces, after a kill, with several workers, by several programs; the same bytes each time."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from runners.demos import collect as collect_module
from runners.demos.collect import collect
from runners.demos.dataset import (
    episode_path,
    read_info,
    write_meta,
)
from tests.demos.collection import COLLECTION, digests
from tests.demos.test_pool import group_is_gone, until

pytestmark = pytest.mark.sim


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
from tests.demos.collection import COLLECTION
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


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """No demo of task 2 succeeds, none needs a simulator; demos that were tried."""
    tried: list[tuple[int, int]] = []

    def record(self: Any, task_id: int, numbers: list[int]) -> Any:
        tried.extend((task_id, number) for number in numbers)
        return [], [(task_id, number) for number in numbers]

    monkeypatch.setattr(collect_module._Worker, "record", record)
    return tried


@pytest.mark.parametrize(
    ("first", "second", "is_again"),
    [
        ("a" * 40, "a" * 40, False),
        ("a" * 40, "b" * 40, True),
        ("a" * 40 + "+dirty", "a" * 40 + "+dirty", True),
        (None, None, True),
    ],
)
def test_what_this_program_gave_up_is_told_and_not_tried_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing: list,
    first: str | None,
    second: str | None,
    is_again: bool,
) -> None:
    """Another program's expert may be mended; a checkout with changes is another one each time."""
    monkeypatch.setattr(collect_module, "git_commit", lambda: first)
    cost = collect(COLLECTION, tmp_path, progress=lambda line: None)
    assert cost.given_up == ((2, 0), (7, 0)) and cost.num_attempts == 40
    info = read_info(tmp_path)
    assert info is not None and info["given_up"] == {"commit": first, "demos": [[2, 0], [7, 0]]}
    assert info["commits"] == [], "nothing was recorded"
    tried = len(failing)
    monkeypatch.setattr(collect_module, "git_commit", lambda: second)
    cost = collect(COLLECTION, tmp_path, progress=lambda line: None)
    assert cost.given_up == ((2, 0), (7, 0))
    assert (len(failing) - tried, cost.num_attempts) == ((2, 40) if is_again else (0, 0))


def test_more_demos_skip_what_was_given_up_and_other_settings_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: list
) -> None:
    monkeypatch.setattr(collect_module, "git_commit", lambda: "a" * 40)
    collect(COLLECTION, tmp_path, progress=lambda line: None)
    cost = collect(replace(COLLECTION, demos_per_task=2), tmp_path, progress=lambda line: None)
    assert sorted(failing[2:]) == [(2, 1), (7, 1)] and cost.num_attempts == 40
    assert cost.given_up == ((2, 0), (2, 1), (7, 0), (7, 1))
    assert collect(COLLECTION, tmp_path, progress=lambda line: None).given_up == ((2, 0), (7, 0))
    del failing[:]
    collect(replace(COLLECTION, seed=4), tmp_path, progress=lambda line: None)
    assert sorted(failing) == [(2, 0), (7, 0)], "demos of another seed are others"
