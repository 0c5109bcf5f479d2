"""Fixtures of the model tests."""

from __future__ import annotations

import pytest
import torch

from tests.models.twins import loaded, small
from vlacache.models.factory import LoadedModel
from vlacache.models.tiny import TINY_MODELS


@pytest.fixture(params=["tiny_oft", "tiny_openvla"])
def twin(request: pytest.FixtureRequest) -> LoadedModel:
    """Bidirectional with a chunk head, and causal with token bins."""
    return loaded(small(TINY_MODELS[request.param]))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """These tensors are tiny: two threads on a busy machine wait for each other most of the time."""
    torch.set_num_threads(1)
