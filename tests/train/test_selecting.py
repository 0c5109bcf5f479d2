"""scripts/select_checkpoint.py: what is evaluated again, what is refused, and what a stop leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runners import closed_loop
from runners.assets import ResolvedAssets
from runners.envs.base import AssetProvenance
from tests.train.commands import main_of, run
from vlacache.lock import FolderLock
from vlacache.models import factory


@pytest.mark.parametrize("words", [["--placements", "wide", "samples=12"], ["--suites", "libero_spatail"]])
def test_a_selection_takes_only_what_there_is(repo_root: Path, tmp_path: Path, words: list[str]) -> None:
    script = repo_root / "scripts" / "select_checkpoint.py"
    done = subprocess.run([sys.executable, str(script), str(tmp_path), *words], capture_output=True, text=True)
    assert done.returncode == 2 and f"invalid choice: '{words[-1]}'" in done.stderr


def selecting(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, make_evaluate: Any) -> Callable[[], int]:
    """The command for ``folder``; no simulator evaluates."""
    main = main_of(root, "select_checkpoint.py")
    monkeypatch.setitem(main.__globals__, "make_evaluate", make_evaluate)
    monkeypatch.setattr(sys, "argv", ["select_checkpoint.py", str(folder)])
    return main


def always(success: float) -> Callable[[Any], Any]:
    return lambda given: lambda loaded: {"success": success}


def write_snapshot(folder: Path, seed: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    factory.save_checkpoint(factory.untrained(factory.TINY_MODELS["tiny_oft"], seed), folder)
    (folder / "training.json").write_text("{}")


def test_other_weights_of_the_same_name_are_evaluated_again(
    repo_root: Path, tmp_path: Path, monkeypatch, small_models
) -> None:
    evaluated = []

    def make_evaluate(given):
        def evaluate(loaded):
            evaluated.append(loaded.info.checkpoint.partition("@")[0])
            return {"success": 0.5 if evaluated[-1] == "00000008" else 0.25}

        return evaluate

    main = selecting(repo_root, tmp_path, monkeypatch, make_evaluate)
    for name, seed in (("00000008", 1), ("00000016", 2)):
        write_snapshot(tmp_path / "snapshots" / name, seed)
    assert main() == 0 and main() == 0
    assert evaluated == ["00000008", "00000016"]
    write_snapshot(tmp_path / "snapshots" / "00000016", 3)
    assert main() == 0
    assert evaluated == ["00000008", "00000016", "00000016"]
    table = json.loads((tmp_path / "selection.json").read_text())
    digests = {
        path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "snapshots").glob("*/model.safetensors")
    }
    assert table["weights"] == digests
    assert json.loads((tmp_path / "best" / "training.json").read_text()) == {"validation": {"success": 0.5}}


def test_selections_on_other_episodes_are_not_mixed(repo_root: Path, tmp_path: Path) -> None:
    factory.save_checkpoint(factory.untrained(factory.TINY_MODELS["tiny_oft"], 1), tmp_path / "snapshots" / "00000008")
    (tmp_path / "selection.json").write_text(json.dumps({"settings": {"tasks": [0]}, "results": {}}))
    done = run(repo_root, "select_checkpoint.py", str(tmp_path))
    assert done.returncode == 2 and "ask for the same or delete it" in done.stderr


@pytest.mark.parametrize(
    "content",
    ['{"settings": {', "{}", "[]", '{"settings": {}, "results": {"8": 1}}', '{"settings": {}, "results": []}'],
)
def test_a_damaged_table_is_refused_in_one_line(
    repo_root: Path, tmp_path: Path, monkeypatch, capsys, small_models, content: str
) -> None:
    write_snapshot(tmp_path / "snapshots" / "00000008", 1)
    (tmp_path / "selection.json").write_text(content)
    assert selecting(repo_root, tmp_path, monkeypatch, always(0.5))() == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'selection.json'}: expected settings and results of")
    assert error.endswith("delete it to evaluate anew\n") and error.count("\n") == 1
    assert not (tmp_path / "best").exists()


def test_a_folder_that_is_trained_in_is_refused(
    repo_root: Path, tmp_path: Path, monkeypatch, capsys, small_models
) -> None:
    write_snapshot(tmp_path / "snapshots" / "00000008", 1)
    main = selecting(repo_root, tmp_path, monkeypatch, always(0.5))
    lock = FolderLock(tmp_path / ".lock")
    assert main() == 2 and not (tmp_path / "best").exists()
    assert f"being written by process {os.getpid()}: wait for it" in capsys.readouterr().err
    lock.release()
    assert main() == 0 and main() == 0  # it frees the folder itself


def test_a_selection_that_is_terminated_goes_on_with_what_it_has(
    repo_root: Path, tmp_path: Path, monkeypatch, capsys, small_models
) -> None:
    evaluated = []

    def make_evaluate(given):
        def evaluate(loaded):
            evaluated.append(loaded.info.checkpoint.partition("@")[0])
            if len(evaluated) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return {"success": 0.5}

        return evaluate

    previous = signal.signal(signal.SIGTERM, lambda number, frame: pytest.fail("SIGTERM was not taken"))
    try:
        main = selecting(repo_root, tmp_path, monkeypatch, make_evaluate)
        for name, seed in (("00000008", 1), ("00000016", 2)):
            write_snapshot(tmp_path / "snapshots" / name, seed)
        assert main() == 130 and "goes on from here" in capsys.readouterr().err
        assert main() == 0
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert evaluated == ["00000008", "00000016", "00000016"]


def test_a_kill_in_the_copy_keeps_the_best_of_before(
    repo_root: Path, tmp_path: Path, monkeypatch, small_models
) -> None:
    write_snapshot(tmp_path / "snapshots" / "00000008", 1)
    main = selecting(repo_root, tmp_path, monkeypatch, always(0.5))
    assert main() == 0
    before = (tmp_path / "best" / "model.safetensors").read_bytes()
    write_snapshot(tmp_path / "snapshots" / "00000016", 2)
    with monkeypatch.context() as patch:
        patch.setattr(
            shutil, "copytree", lambda source, target: Path(target).mkdir() or (_ for _ in ()).throw(MemoryError)
        )
        with pytest.raises(MemoryError):
            main()
    assert (tmp_path / "best" / "model.safetensors").read_bytes() == before
    assert main() == 0
    assert (tmp_path / "best" / "model.safetensors").read_bytes() != before


def test_changed_assets_of_the_same_name_are_not_mixed(
    repo_root: Path, tmp_path: Path, monkeypatch, capsys, small_models
) -> None:
    def digest_is(digest: str) -> None:
        provenance = AssetProvenance("builtin", digest, "fast", "")
        monkeypatch.setattr(closed_loop, "resolve_assets", lambda *_, **__: ResolvedAssets(tmp_path, provenance))

    write_snapshot(tmp_path / "snapshots" / "00000008", 1)
    main = selecting(repo_root, tmp_path, monkeypatch, always(0.5))
    digest_is("a" * 16)
    assert main() == 0 and main() == 0
    digest_is("b" * 16)
    assert main() == 2
    error = capsys.readouterr().err
    assert f"builtin@{'a' * 8}/fast" in error and f"builtin@{'b' * 8}/fast" in error
