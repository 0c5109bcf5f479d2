"""What the scripts share: words in any order, errors of one line, Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runners.argv import parse_with_words
from runners.script import run_script


def options() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser()
    out.add_argument("name", nargs="?", default="default")
    out.add_argument("words", nargs="*")
    out.add_argument("--list", nargs="+", type=int)
    out.add_argument("--folder")
    return out


@pytest.mark.parametrize(
    "line",
    [
        "mine --list 1 2 a.b=[1,2] +c=3 --folder results/x=y",
        "mine a.b=[1,2] --list 1 2 --folder results/x=y +c=3",
        "a.b=[1,2] --folder results/x=y mine +c=3 --list 1 2",
    ],
)
def test_words_may_stand_anywhere(line: str) -> None:
    given = parse_with_words(options(), line.split())
    assert (given.name, given.list, given.folder) == ("mine", [1, 2], "results/x=y")
    assert given.words == ["a.b=[1,2]", "+c=3"]


def test_a_value_that_looks_like_a_word_is_joined_to_its_option() -> None:
    given = parse_with_words(options(), ["--folder=a=b"])
    assert (given.name, given.folder, given.words) == ("default", "a=b", [])


def test_a_stray_word_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_with_words(options(), ["mine", "stray"])
    assert "stray: expected key=value" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("wrong"), 2, "error: wrong\n"),
        (FileNotFoundError("no such run"), 2, "error: no such run\n"),
        (PermissionError(13, "Permission denied", "results"), 1, "error: results: Permission denied; "),
        (KeyboardInterrupt(), 130, "stopped; the same command goes on from here\n"),
    ],
)
def test_an_error_is_one_line(error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise error

    assert run_script(fail) == code
    shown = capsys.readouterr().err
    assert shown.startswith(line) and shown.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "--run", "results/none"], "error: results/none/run.json: expected a run record"),
        (["nowhere"], "error: "),
        (["nowhere", "--control", "blind"], "expected NAME=RUN"),
    ],
)
def test_a_card_without_its_runs_is_one_line(repo_root: Path, tmp_path: Path, words: list[str], message: str) -> None:
    command = [sys.executable, str(repo_root / "scripts/write_model_card.py"), *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


@pytest.mark.parametrize("to_both", [True, False])
def test_an_interrupted_script_ends_after_its_run(repo_root: Path, tmp_path: Path, to_both: bool) -> None:
    """A terminal tells both processes, ``kill`` only the script; the run always ends by itself and in good order."""
    run = tmp_path / "run.py"
    run.write_text(
        "import signal, sys, time\nfrom pathlib import Path\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n    Path('begun').touch()\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    time.sleep(0.5)\n    Path('ended').touch()\n"
    )
    script = (
        f"import sys\nfrom pathlib import Path\nsys.path.insert(0, {str(repo_root)!r})\n"
        "import runners.script as script\n"
        f"script.RUN_SCRIPT, script.STOP_SECONDS = Path({str(run)!r}), {30.0 if to_both else 0.1}\n"
        "sys.exit(script.run_script(lambda: script.call_run(['a=1']) or script.call_run(['b=2'])))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    end = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and time.monotonic() < end:
        time.sleep(0.02)
    if to_both:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.terminate()
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error == "stopped; the same command goes on from here\n"
    assert (tmp_path / "ended").exists() and "b=2" not in out
