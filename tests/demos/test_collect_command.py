"""scripts/collect_demos.py: what it refuses, what it says, how it ends."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runners.demos.dataset import (
    find_episodes,
)
from runners.demos.episode import DemoRecorder
from tests.demos.collection import command, digests

pytestmark = pytest.mark.sim


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
        ["--placement", "wide", "--jitter", "fixtures"],
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


def test_a_demo_that_fails_does_not_stop_the_others(
    tmp_path: Path, repo_root: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Task 2 fails: task 7 behind it is made all the same, the command names what is missing and ends with 3."""
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
        assert left.value.code == 3
        assert error.startswith("error: incomplete: libero_spatial, seed 0: ") and "for task 2: demo 0;" in error
        assert {index: meta.task_index for index, meta in find_episodes(tmp_path).items()} == {1: 7}


CRASH = """
import runpy, sys
from runners.demos import collect
def crash(*_):
    raise KeyError("a mistake in the program")
collect._Worker.record = crash
sys.argv = ["collect_demos.py", "--output", sys.argv[1], "--tasks", "7", "--demos-per-task", "1", "--workers", "1"]
runpy.run_path("scripts/collect_demos.py", run_name="__main__")
"""


def test_a_crash_is_not_taken_for_demos_that_were_left_out(tmp_path: Path, repo_root: Path) -> None:
    words = [sys.executable, "-c", CRASH, str(tmp_path / "set")]
    environment = {**os.environ, "PYTHONPATH": str(repo_root)}
    done = subprocess.run(words, cwd=repo_root, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "a mistake in the program" in done.stderr


def test_a_novice_that_is_none_is_told_the_choices(
    tmp_path: Path, repo_root: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(["--output", str(tmp_path / "set"), "--novice", "nope"], repo_root, monkeypatch) == 2
    assert capsys.readouterr().err == (
        "error: novice: expected astray, builtin or the folder of a checkpoint (with config.json), got 'nope'\n"
    )
