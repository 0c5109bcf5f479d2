"""Ctrl-C loses no update, and a folder has one trainer at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.train.test_training import FAST, losses, trainer
from vlacache.lock import FolderBusyError, FolderLock
from vlacache.train.checkpointing import load_state, save_state
from vlacache.train.demos import Demos

pytestmark = pytest.mark.usefixtures("small_models")


@pytest.fixture
def takes_sigint() -> Iterator[None]:
    """As in a terminal; a test run in the background ignores the signal."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("takes_sigint")
def test_an_interrupt_in_an_update_waits_for_its_end_and_saves_it(
    demos: Demos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(FAST, samples=48, save_steps=50)
    run = trainer(config, demos, tmp_path / "stopped")
    update, calls = run.engine.update, []

    def interrupted(batch, step):
        if step == 2:
            signal.raise_signal(signal.SIGINT)
        calls.append(step)
        return update(batch, step)

    monkeypatch.setattr(run.engine, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    state = load_state(tmp_path / "stopped")
    assert calls == [0, 1, 2] and state is not None and state.step == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    continued = trainer(config, demos, tmp_path / "stopped").run()
    straight = trainer(config, demos, tmp_path / "straight").run()
    assert all(torch.equal(straight.ema[k], continued.ema[k]) for k in straight.ema)
    assert losses(tmp_path / "stopped") == losses(tmp_path / "straight")


@pytest.mark.usefixtures("takes_sigint")
def test_an_interrupt_in_an_evaluation_acts_at_once_and_saves(demos: Demos, tmp_path: Path) -> None:
    def evaluate(loaded):
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the evaluation went on")

    with pytest.raises(KeyboardInterrupt):
        trainer(replace(FAST, save_steps=50), demos, tmp_path, evaluate=evaluate).run()
    state = load_state(tmp_path)
    assert state is not None and (state.step, state.last_eval, state.best) == (6, -1, None)


def test_a_second_trainer_of_a_folder_is_refused(demos: Demos, tmp_path: Path, repo_root: Path) -> None:
    first = trainer(FAST, demos, tmp_path, stop_after=1)
    with pytest.raises(FolderBusyError, match=rf"written by process {os.getpid()}: wait for it.*use another folder"):
        trainer(FAST, demos, tmp_path, stop_after=1)
    first.run()
    trainer(FAST, demos, tmp_path, stop_after=1).run()  # free again
    waiting = "import sys; from pathlib import Path; from vlacache.lock import FolderLock; "
    waiting += "FolderLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", waiting, str(tmp_path / ".lock")]
    other = subprocess.Popen(command, cwd=repo_root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    with pytest.raises(FolderBusyError, match=f"process {other.pid}"):
        trainer(FAST, demos, tmp_path, stop_after=1)
    other.kill()
    other.communicate()
    trainer(FAST, demos, tmp_path, stop_after=1).run()  # the kernel frees what a killed process held


def test_a_run_ends_at_an_update_however_many_sittings_it_takes(demos: Demos, tmp_path: Path) -> None:
    for sitting, done in (({"stop_after": 1}, 1), ({"stop_at": 3}, 3), ({"stop_at": 3}, 3), ({"stop_at": 2}, 3)):
        assert trainer(FAST, demos, tmp_path, **sitting).run().step == done


def test_a_refused_run_leaves_the_folder_free(demos: Demos, tmp_path: Path) -> None:
    trainer(FAST, demos, tmp_path, stop_after=1).run()
    with pytest.raises(ValueError, match="other settings"):
        trainer(replace(FAST, seed=9), demos, tmp_path)
    FolderLock(tmp_path / ".lock").release()


@pytest.mark.parametrize("name", ["state", "aux", "instructions", "task"])
def test_other_labels_do_not_continue_a_run(demos: Demos, tmp_path: Path, name: str) -> None:
    """Actions and pictures are as they were."""
    trainer(FAST, demos, tmp_path, stop_after=1).run()
    old = getattr(demos, name)
    new = (*old[:-1], "close it") if name == "instructions" else 1 - old if name == "task" else old + 0.01
    with pytest.raises(ValueError, match="demos: "):
        trainer(FAST, replace(demos, **{name: new}), tmp_path)


def test_a_state_of_an_older_version_goes_on_and_learns_the_new_digest(demos: Demos, tmp_path: Path) -> None:
    """Without ``labels`` and ``collections``, as training runs that were under way had them."""
    config = replace(FAST, samples=48)
    trainer(config, demos, tmp_path / "a", stop_after=2).run()
    state = load_state(tmp_path / "a")
    assert state is not None
    del state.facts["demos"]["labels"], state.facts["collections"]
    save_state(state, tmp_path / "a")
    continued = trainer(config, demos, tmp_path / "a").run()
    straight = trainer(config, demos, tmp_path / "b").run()
    assert all(torch.equal(straight.ema[k], continued.ema[k]) for k in straight.ema)
    with pytest.raises(ValueError, match="demos: "):
        trainer(config, replace(demos, aux=demos.aux + 0.01), tmp_path / "a")
