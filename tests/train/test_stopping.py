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

from tests.train.runs import FAST, losses, trainer
from vlacache.lock import FolderBusyError, FolderLock
from vlacache.train.checkpointing import TrainState, load_state, save_state
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


def test_an_evaluation_that_fails_loses_no_update(demos: Demos, tmp_path: Path) -> None:
    def fail(loaded):
        raise RuntimeError("no renderer")

    run = trainer(replace(FAST, save_steps=50), demos, tmp_path, evaluate=fail)
    with pytest.raises(RuntimeError, match="no renderer"):
        run.run()
    state = load_state(tmp_path)
    assert state is not None and (state.step, state.last_eval, run.saved_step) == (6, -1, 6)


SPATIAL = {"placements": {"libero_spatial": ["official"]}, "starts": 3}


def test_a_best_is_compared_with_successes_on_the_same_episodes_only(demos: Demos, tmp_path: Path) -> None:
    def sitting(success: float, validation: dict | None, stop_at: int) -> TrainState:
        def evaluate(loaded):
            return {"success": success}

        run = trainer(
            FAST, demos, tmp_path, evaluate=None if validation is None else evaluate, validation=validation,
            stop_at=stop_at,
        )  # fmt: skip
        return run.run()

    goal = {"placements": {"libero_goal": ["official"]}, "starts": 3}
    assert sitting(0.5, goal, 1).best is None
    assert sitting(0.5, SPATIAL, 6).best == 0.5, "nothing was chosen on the other episodes yet"
    with pytest.raises(ValueError, match=r"other settings.*validation placements: .*spatial.* != .*goal") as caught:
        sitting(0.9, goal, 12)
    assert "starts" not in str(caught.value)
    sitting(0.9, None, 7)  # without evaluations nothing is compared, and the setting is kept
    with pytest.raises(ValueError, match="validation starts: 3 != 5"):
        sitting(0.9, {**SPATIAL, "starts": 5}, 12)
    assert sitting(0.9, dict(SPATIAL), 12).best == 0.9


def test_a_state_of_an_older_version_learns_its_validation(demos: Demos, tmp_path: Path) -> None:
    def evaluate(loaded):
        return {"success": 0.5}

    trainer(FAST, demos, tmp_path, evaluate=evaluate, stop_after=6).run()
    state = load_state(tmp_path)
    assert state is not None and state.best == 0.5
    del state.facts["validation"]
    save_state(state, tmp_path)
    trainer(FAST, demos, tmp_path, evaluate=evaluate, validation=SPATIAL, stop_after=1).run()
    with pytest.raises(ValueError, match="validation starts"):
        trainer(FAST, demos, tmp_path, evaluate=evaluate, validation={**SPATIAL, "starts": 5})


def test_changed_assets_are_not_compared_with_a_best_of_before(demos: Demos, tmp_path: Path) -> None:
    """By digest. A state that has no more than their name learns it."""

    def sitting(assets: str | dict[str, str], stop_at: int) -> None:
        def evaluate(loaded):
            return {"success": 0.5}

        validation = {**SPATIAL, "assets": assets}
        trainer(FAST, demos, tmp_path, evaluate=evaluate, validation=validation, stop_at=stop_at).run()

    sitting("builtin", 6)
    sitting({"libero_spatial": "builtin@old/fast"}, 7)
    with pytest.raises(ValueError, match=r"validation assets: .*builtin@old/fast.* != .*builtin@new/fast"):
        sitting({"libero_spatial": "builtin@new/fast"}, 8)


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
