"""scripts/gpu_session.sh without a GPU: what it would run exists, and the page's calls cover it in time."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench.scripts import load_script
from vlacache.bench.command import parse_variants
from vlacache.bench.ladder import arm_names, choose_names
from vlacache.bench.random_weights import random_config

SHOWN = re.compile(r"^== (\w+) \((\d+) s\): (.*)$", re.MULTILINE)
#: Of a lent machine's 600 s; the rest is its start and what travels.
CALL_SECONDS = 560
Session = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def session(repo_root: Path, tmp_path: Path) -> Session:
    """The script with its words; shows its commands unless told otherwise."""

    def call(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        own = {"PATH": os.environ["PATH"], "OUT": str(tmp_path / "out"), "GPU_SESSION_DRY": "1", **env}
        command = ["bash", str(repo_root / "scripts" / "gpu_session.sh"), *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=own)

    return call


def parse(repo_root: Path, command: list[str]) -> argparse.Namespace | None:
    """By the script's own parser; None for what is no script of ours."""
    if command[0] != "python3" or not command[1].startswith("scripts/"):
        return None
    script = load_script(repo_root, Path(command[1]).stem)
    parser = script.parser() if hasattr(script, "parser") else script.build_parser()
    return parser.parse_args(command[2:])


def test_every_command_is_one_that_its_script_takes(session: Session, repo_root: Path, tmp_path: Path) -> None:
    done = session()
    commands = {name: shlex.split(line) for name, _, line in SHOWN.findall(done.stdout)}
    assert done.returncode == 0 and list(commands)[:4] == ["check", "test_cuda", "tiny_oft", "openvla_oft"]
    for name, command in commands.items():
        args = parse(repo_root, command)
        if args is None:
            continue
        assert args.device == "cuda"
        if name == "train":
            assert args.folder == tmp_path / "out" / "train" and args.words == ["samples=2000000", "batch_size=256"]
            continue
        assert args.output == tmp_path / "out" / f"{name}.json"
        if command[1] == "scripts/bench_latency.py":
            choose_names(
                arm_names(parse_variants(args.compare, args.model, "cuda")), args.arms and args.arms.split(",")
            )
        if getattr(args, "random_weights", False):
            random_config(args.model, "7b")
        assert all(path.exists() for path in getattr(args, "episodes", []))
    assert (repo_root / commands["test_cuda"][-1]).is_file() and commands["test_cuda"][1:3] == ["-m", "pytest"]
    compile(commands["check"][2], "check", "exec")


def test_the_calls_of_the_page_cover_all_steps_in_time(session: Session, repo_root: Path) -> None:
    page = (repo_root / "docs" / "gpu_backlog.md").read_text()
    calls = re.findall(r"^bash scripts/gpu_session.sh (\w+) (\w+)$", page, re.MULTILINE)
    parts = [SHOWN.findall(session(*words).stdout) for words in calls]
    assert all(sum(int(seconds) for _, seconds, _ in part) <= CALL_SECONDS for part in parts)
    steps = [name for name, _, _ in SHOWN.findall(session().stdout)]
    assert [name for part in parts for name, _, _ in part] == steps
    assert all(f"`{name}`" in page for name in steps)


def test_a_failed_step_does_not_stop_the_rest(session: Session, tmp_path: Path) -> None:
    done = session("tiny_openvla", "fidelity", GPU_SESSION_DRY="", PYTHON="false")
    assert done.returncode == 1 and done.stdout.count("exit 1 after") == 3
    assert re.search(r"^train +not run$", done.stdout, re.MULTILINE)
    assert (tmp_path / "out" / "session.log").read_text().count("==") == 3


@pytest.mark.parametrize("words", [["banana"], ["openvla", "check"]])
def test_steps_that_do_not_exist_are_refused(session: Session, words: list[str]) -> None:
    done = session(*words)
    assert done.returncode == 2 and "error: expected steps in this order: check test_cuda" in done.stderr
