"""The commands: pack, train on the pack with the real sizes, stop, continue."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from runners.training_log import run_id
from tests.train.commands import call, main_of, run
from vlacache.models import factory
from vlacache.models.factory import ModelConfig, load_model
from vlacache.train.engine import Engine


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


def test_builtin_checkpoint_is_found_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(factory, "PACKAGED", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of 'tiny_oft' ships"):
        load_model(ModelConfig("tiny_oft", checkpoint="builtin"))
    model = factory.untrained(factory.TINY_MODELS["tiny_oft"], 1)
    factory.save_checkpoint(model, tmp_path / "tiny_oft")
    info = load_model(ModelConfig("tiny_oft", checkpoint="builtin")).info
    assert info.weights == "trained" and info.checkpoint.startswith("tiny_oft@")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--demos", "{tmp}/nowhere"], "expected meta/info.json"),
        (["--demos", "{demos}", "lr=1"], "'lr=1': expected name=value"),
        (["--demos", "{demos}", "model=foo"], "the model is chosen by --model"),
        (["--demos", "{demos}", "--init-from", "{tmp}/nothing"], "nothing"),
        (["--demos", "{demos}", "--device", "abacus"], "--device: expected cpu or cuda"),
    ],
)
def test_training_refuses_bad_input_in_one_line(
    repo_root: Path, folder: Path, tmp_path: Path, capsys, monkeypatch, words: list[str], message: str
) -> None:
    names = [word.format(tmp=tmp_path, demos=folder) for word in words]
    options, numbers = [w for w in names if "=" not in w], [w for w in names if "=" in w]
    command = ["train_tiny.py", *numbers, "--no-eval", "--folder", str(tmp_path / "run"), *options]
    monkeypatch.setattr(sys, "argv", command)
    assert main_of(repo_root, "train_tiny.py")() == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


def test_training_that_is_interrupted_says_what_is_saved(
    repo_root: Path, folder: Path, tmp_path: Path, capsys, monkeypatch, small_models
) -> None:
    command = ["train_tiny.py", "samples=12", "batch_size=4", "--no-eval", "--folder", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", [*command, "--demos", str(folder)])
    main = main_of(repo_root, "train_tiny.py")
    update = Engine.update

    def interrupted(engine, batch, step):
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)  # a scheduler's; Ctrl-C has a test of its own
        return update(engine, batch, step)

    monkeypatch.setattr(Engine, "update", interrupted)
    assert main() == 130
    assert "update 2 is saved, the same command goes on" in capsys.readouterr().err
    monkeypatch.setattr(Engine, "update", update)
    assert main() == 0
    assert "update 3 of 3" in capsys.readouterr().out


def test_training_that_fails_says_what_is_saved(
    repo_root: Path, folder: Path, tmp_path: Path, capsys, monkeypatch, small_models
) -> None:
    def make_evaluate(given):
        def evaluate(loaded):
            raise RuntimeError("validation: task 3, state 0 failed:\nTraceback:\n  File ...\nOSError: no renderer\n")

        return evaluate

    main = main_of(repo_root, "train_tiny.py")
    monkeypatch.setitem(main.__globals__, "make_evaluate", make_evaluate)
    command = ["train_tiny.py", "samples=12", "batch_size=4", "eval_samples=8", "--folder", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", [*command, "--demos", str(folder)])
    assert main() == 1
    assert capsys.readouterr().err == (
        "error: validation: task 3, state 0 failed: OSError: no renderer; "
        "update 2 is saved, the same command goes on from there\n"
    )

    def fail(engine, batch, step):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Engine, "update", fail)
    monkeypatch.setattr(sys, "argv", [*command[:-1], str(tmp_path / "new"), "--demos", str(folder)])
    assert main() == 1
    assert capsys.readouterr().err == "error: out of memory; no update is saved\n"


@pytest.mark.parametrize(
    ("script", "words", "message"),
    [
        ("train_tiny.py", ["--stop-after", "-3"], "--stop-after: expected a whole number of at least 1, got '-3'"),
        ("train_tiny.py", ["--stop-at", "0"], "--stop-at: expected a whole number of at least 1, got '0'"),
        ("train_tiny.py", ["--threads", "two"], "--threads: expected a whole number of at least 1, got 'two'"),
        ("train_tiny.py", ["--frame-gib", "nan"], "--frame-gib: expected a number of at least 0, got 'nan'"),
        ("train_tiny.py", ["--frame-gib", "-1"], "--frame-gib: expected a number of at least 0, got '-1'"),
        ("train_tiny.py", ["--suites", "simpler_widowx"], "invalid choice: 'simpler_widowx' (choose from"),
        ("pack_demos.py", ["--quality", "5000"], "--quality: expected 1 .. 100, got '5000'"),
        ("pack_demos.py", ["--max-mib", "nan"], "--max-mib: expected a number above 0, got 'nan'"),
        ("pack_demos.py", ["--image-size", "0"], "--image-size: expected a whole number of at least 1, got '0'"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(
    repo_root: Path, tmp_path: Path, capsys, monkeypatch, script: str, words: list[str], message: str
) -> None:
    places = ["--demos", "x", "--folder", str(tmp_path)] if script == "train_tiny.py" else ["x", "--output", "y"]
    monkeypatch.setattr(sys, "argv", [script, *places, *words])
    with pytest.raises(SystemExit) as left:
        main_of(repo_root, script)()
    assert left.value.code == 2 and message in capsys.readouterr().err


def test_packing_refuses_bad_input_in_one_line(
    repo_root: Path, folder: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    (tmp_path / "part-004.demos.safetensors").touch()
    main = main_of(repo_root, "pack_demos.py")
    for words, message in (
        ([str(tmp_path / "nowhere"), "--output", str(tmp_path)], "expected meta/info.json"),
        ([str(folder), "--output", str(tmp_path)], "would be read as well"),
        ([str(folder), "--output", str(tmp_path / "x"), "--max-mib", "0.001"], "recompress or raise it"),
    ):
        monkeypatch.setattr(sys, "argv", ["pack_demos.py", *words])
        assert main() == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and message in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tasks", "3", "10"], r"error: --tasks: expected 0 .. 9 (libero_spatial), got [10]"),
        (["--suites", "libero_goal", "--placements", "wide"], "--placements wide: written for libero_spatial"),
        (["--validation-starts", "0"], "--validation-starts: expected at least 1, got 0"),
        (["--tasks", "3", "0", "3"], "error: --tasks: expected each once, got 3 0 3"),
    ],
)
def test_bad_validation_is_told_before_training(
    repo_root: Path, folder: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    done = run(repo_root, "train_tiny.py", "--demos", str(folder), "--folder", str(tmp_path / "run"), *words)
    assert done.returncode == 2
    assert message in done.stderr


def test_folders_of_one_name_are_runs_of_their_own(tmp_path: Path) -> None:
    """In W&B too: a run has one id for all its sittings."""
    ids = []
    for folder in (tmp_path / "a" / "oft", tmp_path / "b" / "oft"):
        folder.mkdir(parents=True)
        ids += [run_id(folder), run_id(folder)]
    assert ids[0] == ids[1] and ids[2] == ids[3] and ids[0] != ids[2]
    assert all(name.startswith("train-oft-") for name in ids)
