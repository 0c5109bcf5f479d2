"""The promise of the store: a run killed at any moment, continued, equals an uninterrupted run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runners.journal import EPISODES_FILE, read_episodes
from runners.steps import read_steps
from tests.runner.helpers import ToyRun, outcome_of

NUM_EPISODES = 12  # 2 tasks x 3 initial states x 2 arms


def _start(run_dir: Path, repo_root: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.runner.toy_job", str(run_dir)]
    return subprocess.Popen(command, cwd=repo_root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _kill_after(run_dir: Path, repo_root: Path, num_lines: int, number: int) -> None:
    """Start the job and signal it inside the episode after line ``num_lines``."""
    process = _start(run_dir, repo_root)
    path = run_dir / EPISODES_FILE
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_bytes().count(b"\n") >= num_lines):
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the job ended early: {process.communicate()[0].decode()}")
        time.sleep(0.002)
    time.sleep(0.02)  # into the next episode
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode != 0


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("whole") / "demo"
    ToyRun(run_dir, episodes_per_task=3)()
    return run_dir


def _final(run_dir: Path) -> dict[str, tuple[object, ...]]:
    return {r.key.slug: outcome_of(r) for r in read_episodes(run_dir)}


def test_killed_run_continues_and_equals_an_uninterrupted_one(
    uninterrupted: Path, tmp_path: Path, repo_root: Path
) -> None:
    run_dir = tmp_path / "demo"
    prefix = b""
    for num_lines in (1, 4, 6):
        _kill_after(run_dir, repo_root, num_lines, signal.SIGKILL)
        content = (run_dir / EPISODES_FILE).read_bytes()
        assert content.startswith(prefix)
        prefix = content
    last = _start(run_dir, repo_root)
    output = last.communicate(timeout=60)[0]
    assert last.returncode == 0, output.decode()

    assert (run_dir / EPISODES_FILE).read_bytes().startswith(prefix)
    rows = read_episodes(run_dir)
    assert len(rows) == NUM_EPISODES, "an episode that had finished was run again"
    assert _final(run_dir) == _final(uninterrupted)
    for row in rows:
        name = f"steps/{row.key.slug}.parquet"
        ours, theirs = read_steps(run_dir / name), read_steps(uninterrupted / name)
        for column in ("step", "call_index", "action", "proprio", "success", "reused_layers"):
            assert ours[column].equals(theirs[column]), (name, column)
    assert max(row.attempt for row in rows) > 1, "the episodes that were killed must say so"
    assert not list((run_dir / "steps").glob(".*"))


def test_sigterm_ends_the_run_as_ctrl_c_does(tmp_path: Path, repo_root: Path) -> None:
    run_dir = tmp_path / "demo"
    _kill_after(run_dir, repo_root, 2, signal.SIGTERM)
    assert json.loads((run_dir / ".lock").read_text())["pid"] is None, "the store was not closed"
    assert 2 <= len(read_episodes(run_dir)) < NUM_EPISODES


def test_second_writer_is_refused_and_told_who_writes(tmp_path: Path, repo_root: Path) -> None:
    run_dir = tmp_path / "demo"
    first = _start(run_dir, repo_root)
    try:
        while not (run_dir / EPISODES_FILE).exists():
            assert first.poll() is None
            time.sleep(0.005)
        second = _start(run_dir, repo_root)
        output = second.communicate(timeout=60)[0].decode()
        assert first.poll() is None, "the first writer ended before the second tried; make the job longer"
    finally:
        first.kill()
        first.communicate()
    assert second.returncode != 0
    assert f"being written by process {first.pid}" in output
