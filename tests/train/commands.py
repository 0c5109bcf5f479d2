"""The scripts as commands, in a process of their own or in this one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


def run(root: Path, script: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(root / "scripts" / script), *words]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


def call(root: Path, script: str, *words: str) -> str:
    done = run(root, script, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def main_of(root: Path, script: str) -> Callable[[], int]:
    """``main`` of a script, without the cost of a process."""
    spec = importlib.util.spec_from_file_location(script.removesuffix(".py"), root / "scripts" / script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main
