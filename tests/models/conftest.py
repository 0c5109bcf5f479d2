"""Fixtures of the model tests."""

from __future__ import annotations

import pytest

from tests.models.twins import loaded, small
from vlacache.models.factory import LoadedModel
from vlacache.models.tiny import TINY_MODELS


@pytest.fixture(params=["tiny_oft", "tiny_openvla"])
def twin(request: pytest.FixtureRequest) -> LoadedModel:
    """Bidirectional with a chunk head, and causal with token bins."""
    return loaded(small(TINY_MODELS[request.param]))
