"""The commands: pack, train on the pack with the real sizes, stop, continue."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vlacache.models import factory
from vlacache.models.factory import ModelConfig, load_model


def call(root: Path, script: str, *words: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(root / "scripts" / script), *words],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pack_train_stop_and_continue(repo_root: Path, folder: Path, tmp_path: Path) -> None:
    packed = call(repo_root, "pack_demos.py", str(folder), "--output", str(tmp_path / "packs"), "--image-size", "224")
    assert "4 demos" in packed and "1 files" in packed
    words = ["--no-eval", "--demos", str(tmp_path / "packs"), "--folder", str(tmp_path / "run")]
    numbers = ["samples=12", "batch_size=4", "micro_batch=2", "eval_samples=8", "log_steps=1"]
    assert "update 1 of 3" in call(repo_root, "train_tiny.py", *words, "--stop-after", "1", *numbers)
    assert "update 3 of 3" in call(repo_root, "train_tiny.py", *words, *numbers)
    assert sorted(p.name for p in (tmp_path / "run" / "snapshots").iterdir()) == ["00000008", "00000012"]
    loaded = load_model(ModelConfig("tiny_oft", checkpoint=str(tmp_path / "run" / "snapshots" / "00000012")))
    assert loaded.info.weights == "trained"
    size = sum(p.stat().st_size for p in (tmp_path / "run" / "last").iterdir())
    assert 10 << 20 < size <= 14 << 20
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]


def test_words_may_follow_options_with_several_values() -> None:
    from runners.argv import parse_with_words
    from scripts.train_tiny import parser

    line = "--folder out --demos a b samples=12 --placements official wide lr=1 --tasks 0 3 --suites libero_goal seed=2"
    given = parse_with_words(parser(), line.split())
    assert given.words == ["samples=12", "lr=1", "seed=2"]
    assert ([str(path) for path in given.demos], given.placements) == (["a", "b"], ["official", "wide"])
    assert (given.tasks, given.suites) == ([0, 3], ["libero_goal"])


@pytest.mark.parametrize("words", [["--placements", "wide", "samples=12"], ["--suites", "libero_spatail"]])
def test_a_selection_takes_only_what_there_is(repo_root: Path, tmp_path: Path, words: list[str]) -> None:
    script = repo_root / "scripts" / "select_checkpoint.py"
    done = subprocess.run([sys.executable, str(script), str(tmp_path), *words], capture_output=True, text=True)
    assert done.returncode == 2 and f"invalid choice: '{words[-1]}'" in done.stderr


def test_builtin_checkpoint_is_found_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(factory, "PACKAGED", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of 'tiny_oft' ships"):
        load_model(ModelConfig("tiny_oft", checkpoint="builtin"))
    model = factory.untrained(factory.TINY_MODELS["tiny_oft"], 1)
    factory.save_checkpoint(model, tmp_path / "tiny_oft")
    info = load_model(ModelConfig("tiny_oft", checkpoint="builtin")).info
    assert info.weights == "trained" and info.checkpoint.startswith("tiny_oft@")


def test_selections_on_other_episodes_are_not_mixed(repo_root: Path, tmp_path: Path) -> None:
    factory.save_checkpoint(factory.untrained(factory.TINY_MODELS["tiny_oft"], 1), tmp_path / "snapshots" / "00000008")
    (tmp_path / "selection.json").write_text(json.dumps({"settings": {"tasks": [0]}, "results": {}}))
    script = repo_root / "scripts" / "select_checkpoint.py"
    done = subprocess.run([sys.executable, str(script), str(tmp_path)], cwd=repo_root, capture_output=True, text=True)
    assert done.returncode == 2 and "ask for the same or delete it" in done.stderr
