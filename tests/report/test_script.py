"""``scripts/report.py`` rebuilds a run's or a sweep's report from files alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

WriteRun = Callable[..., Path]


def _call(repo_root: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(repo_root / "scripts" / "report.py"), str(folder), *words]
    return subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, check=False)


def test_run(write_run: WriteRun, repo_root: Path) -> None:
    run = write_run(num_tasks=1, num_inits=2)
    result = _call(repo_root, run)
    assert result.returncode == 0, result.stderr
    assert "tiny_oft, UNTRAINED weights" in result.stdout
    assert (run / "summary.json").exists()


def test_margins_are_chosen(write_run: WriteRun, repo_root: Path) -> None:
    run = write_run(num_tasks=1, num_inits=2, success=(1.0, 1.0))
    result = _call(repo_root, run, "--margin", "60:2", "--margin", "1:9")
    said = " ".join(result.stdout.split())
    assert "Non-inferior to no cache at 60 points: yes; at 1 point: not yet (2 of 9 planned pairs)." in said
    refused = _call(repo_root, run, "--margin", "60")
    assert refused.returncode == 1
    assert refused.stderr == "error: margin: expected POINTS:PAIRS such as 5:200, got '60'\n"


def test_sweep(write_run: WriteRun, repo_root: Path, tmp_path: Path) -> None:
    write_run("sweep/adaptive", num_tasks=1, num_inits=2)
    result = _call(repo_root, tmp_path / "sweep")
    assert result.returncode == 0, result.stderr
    assert "sweep sweep" in result.stdout
    assert (tmp_path / "sweep" / "sweep.png").exists()


def test_bad_folder_is_one_line_of_error(repo_root: Path, tmp_path: Path) -> None:
    result = _call(repo_root, tmp_path / "nothing")
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
