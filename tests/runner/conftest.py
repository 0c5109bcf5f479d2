"""Fixtures of the runner's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runner.helpers import ToyRun


@pytest.fixture
def toy_run(tmp_path: Path) -> ToyRun:
    """Expert as baseline (succeeds), random chunks as policy (fails): 2 tasks, 2 initial states each."""
    return ToyRun(tmp_path / "demo")
