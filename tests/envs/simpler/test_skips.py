"""A run that has SIMPLER's assets fails when SIMPLER tests are skipped; one without them does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest
from tests.simpler_skips import pytest_sessionfinish, pytest_terminal_summary

def test_other():
    pytest.skip("not of SIMPLER")

@pytest.mark.simpler
def test_runs():
    pass
"""
SKIPPED = """
@pytest.mark.simpler
def test_skipped():
    pytest.skip("{reason}")
"""


@pytest.mark.parametrize(
    ("has_pack", "reason", "code"),
    [(True, "no SAPIEN here", 1), (True, "VLACACHE_ORACLES_DIR is not set", 0), (True, None, 0), (False, "none", 0)],
)
def test_exit_code(tmp_path: Path, repo_root: Path, has_pack: bool, reason: str | None, code: int) -> None:
    tests = TESTS + ("" if reason is None else SKIPPED.format(reason=reason))
    hooks, cases = tests.split("\n\n", 1)
    (tmp_path / "conftest.py").write_text(hooks.replace("import pytest\n", ""))
    (tmp_path / "test_it.py").write_text("import pytest\n\n" + cases)
    if has_pack:
        (tmp_path / "maniskill.tar.xz").write_bytes(b"")
    env = {**os.environ, "VLACACHE_ASSETS_DIR": str(tmp_path), "PYTHONPATH": str(repo_root)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == code, done.stdout
    assert f"SIMPLER tests: 1 ran, {int(reason is not None)} skipped" in done.stdout
    assert ("yet skipped: test_it.py::test_skipped: no SAPIEN here" in done.stdout) is (code == 1)
