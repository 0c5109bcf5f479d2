"""What the user sees while a run goes on."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from runners.envs.toy import FaultyEnv, make_toy_env
from runners.progress import ProgressObserver, format_duration
from tests.runner.helpers import ToyRun


def run_and_read(toy_run: ToyRun, *, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=160)
    toy_run.observers = [ProgressObserver(console)]
    toy_run()
    return console.file.getvalue()


def test_plain_lines_without_a_terminal(toy_run: ToyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.progress.LINE_INTERVAL_S", 0.0)
    lines = run_and_read(toy_run, terminal=False).splitlines()
    assert lines[0].startswith("1/8 episodes, baseline 1/1, policy 0/0")
    assert lines[3].startswith("4/8 episodes, baseline 2/2, policy 0/2, reuse 0.45, ")
    assert lines[3].endswith(" s left")
    assert lines[-1] == "done: 8 of 8 episodes, baseline 4/4, policy 0/4, reuse 0.45"
    assert not any("\x1b" in line for line in lines)


def test_bar_on_a_terminal(toy_run: ToyRun) -> None:
    text = run_and_read(toy_run, terminal=True)
    assert "\x1b" in text
    assert "8/8" in text
    assert "task 0 init 0 baseline (none)" in text


def test_continued_run_counts_what_was_done(toy_run: ToyRun) -> None:
    toy_run()
    path = toy_run.run_dir / "episodes.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    text = run_and_read(toy_run, terminal=False)
    assert "run demo: continuing, 3 of 8 episodes are done" in text
    assert "done: 8 of 8 episodes, baseline 4/4, policy 0/4" in text


def test_errors_are_shown_at_once_and_what_is_missing_at_the_end(toy_run: ToyRun) -> None:
    toy_run.make_env = lambda task_id: FaultyEnv(make_toy_env(task_id), 0, num_faults=1 if task_id == 0 else 0)
    text = run_and_read(toy_run, terminal=False)
    assert "error in baseline-none-toy-t00-i000-s0-official: RuntimeError: injected fault at step 0" in text
    assert "4 errors" in text
    assert "episodes are missing: run the same command to continue" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (600, "10 min"), (5399, "1 h 30 min"), (12000, "3 h 20 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
