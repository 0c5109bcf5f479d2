"""A checkpoint folder that is replaced is the old one or the new one, whenever the program is killed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.train.runs import FAST, trainer
from vlacache.folders import recover_folder
from vlacache.models import factory
from vlacache.train.demos import Demos
from vlacache.train.export import export_checkpoint

pytestmark = pytest.mark.usefixtures("small_models")


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


def export(folder: Path, seed: int) -> str:
    return export_checkpoint(factory.untrained(factory.TINY_MODELS["tiny_oft"], seed), folder, {})


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def kill_before_move_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move = os.replace

    def killed(source: Path, target: Path) -> None:
        if Path(target) == folder:
            raise Killed
        move(source, target)

    monkeypatch.setattr(os, "replace", killed)


def test_a_kill_between_the_moves_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = tmp_path / "best"
    old = export(best, 1)
    with monkeypatch.context() as patch:
        kill_before_move_to(best, patch)
        with pytest.raises(Killed):
            export(best, 2)
    recover_folder(best)
    assert digest(best) == old
    new = export(best, 2)
    assert digest(best) == new != old and [path.name for path in tmp_path.iterdir()] == ["best"]


def test_the_next_export_recovers_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = tmp_path / "best"
    old = export(best, 1)
    os.replace(best, tmp_path / ".best.old")
    with monkeypatch.context() as patch:
        patch.setattr("vlacache.folders.sync_path", lambda path: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            export(best, 2)
    assert digest(best) == old


def test_a_kill_after_the_moves_keeps_the_new_checkpoint(tmp_path: Path) -> None:
    best = tmp_path / "best"
    export(tmp_path / ".best.old", 1)
    new = export(best, 2)
    recover_folder(best)
    assert digest(best) == new and [path.name for path in tmp_path.iterdir()] == ["best"]


def test_a_run_that_is_continued_has_its_best_back(demos: Demos, tmp_path: Path) -> None:
    config = replace(FAST, samples=16)
    trainer(config, demos, tmp_path, stop_after=1).run()
    old = export(tmp_path / "best", 1)
    os.replace(tmp_path / "best", tmp_path / ".best.old")
    trainer(config, demos, tmp_path).close()
    assert digest(tmp_path / "best") == old
