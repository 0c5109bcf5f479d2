"""Fixtures that more than one area uses; an area's own live in ``tests/<area>/conftest.py``."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

# Before any test opens an OpenGL context: importing triton (torchvision does) after Mesa's LLVM crashes the process.
with contextlib.suppress(ImportError):
    import triton  # noqa: F401

# Before anything imports wandb: no test talks to a network.
os.environ.setdefault("WANDB_MODE", "offline")

from tests.simpler_skips import pytest_sessionfinish, pytest_terminal_summary  # noqa: F401

REPO_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The checkout that is being tested."""
    return REPO_ROOT


def _folder_from_env(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: the folder is not part of the repository")
    folder = Path(value)
    if not folder.is_dir():
        pytest.fail(f"{variable}={value}: expected a folder, found none; unset it or correct it")
    return folder


@pytest.fixture(scope="session")
def oracles_dir() -> Path:
    """Reference data of other implementations; the test is skipped where ``VLACACHE_ORACLES_DIR`` is not set."""
    return _folder_from_env("VLACACHE_ORACLES_DIR")


@pytest.fixture(scope="session")
def assets_dir() -> Path:
    """Packs of scanned assets; the test is skipped where ``VLACACHE_ASSETS_DIR`` is not set."""
    return _folder_from_env("VLACACHE_ASSETS_DIR")
