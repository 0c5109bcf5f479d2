"""Workers of a collection do their share, and never outlive the process that started them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runners.demos.pool import run_in_processes

#: Generous: the machine may be busy. A worker that stays does so for ten minutes.
PATIENCE = 90.0


def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Whether ``condition`` came true in time."""
    limit = time.monotonic() + seconds
    while not condition() and time.monotonic() < limit:
        time.sleep(0.05)
    return condition()


def group_is_gone(group: int) -> bool:
    """Whether no process of a process group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path: Path, sent: signal.Signals) -> None:
    job = Path(__file__).with_name("pool_job.py")
    command = [sys.executable, str(job), str(tmp_path / "marks")]
    parent = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: len(list(tmp_path.glob("marks/*"))) == 2)
        parent.send_signal(sent)
        assert parent.wait(PATIENCE) != 0
        assert until(lambda: group_is_gone(parent.pid)), "a worker outlived its parent"
        assert {path.name for path in tmp_path.glob("marks/*")} == {"0", "1"}, "a worker took another job"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()


def test_results_of_all_jobs_come_back() -> None:
    results = run_in_processes(2, bool, (), divmod, [(number, 3) for number in range(5)])
    assert sorted(results) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]


def test_an_error_of_a_job_comes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        list(run_in_processes(1, bool, (), divmod, [(1, 0), (1, 1)]))
