"""Fixtures of the training tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.models.twins import small
from tests.train.synthetic import write_lerobot
from vlacache.models.tiny import TINY_MODELS
from vlacache.train.demos import Demos
from vlacache.train.reader import read_lerobot


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """These tensors are tiny."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LeRobot folder; not to be written to."""
    return write_lerobot(tmp_path_factory.mktemp("demos") / "set")


@pytest.fixture(scope="session")
def demos(folder: Path) -> Demos:
    """The same, read."""
    return read_lerobot(folder)


@pytest.fixture
def small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training runs build twins of 56 px, 4 layers and two towers."""
    for name in list(TINY_MODELS):
        monkeypatch.setitem(TINY_MODELS, name, small(TINY_MODELS[name]))
