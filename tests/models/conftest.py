"""Fixtures of the model tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.models.twins import loaded, small, tiny
from vlacache.models.cogact.twin import write_cogact_twin
from vlacache.models.factory import LoadedModel, ModelConfig, load_model
from vlacache.models.tiny import TINY_MODELS, TINY_OFT


@pytest.fixture(params=["tiny_oft", "tiny_openvla"])
def twin(request: pytest.FixtureRequest) -> LoadedModel:
    """Bidirectional with a chunk head, and causal with token bins."""
    return loaded(small(TINY_MODELS[request.param]))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """These tensors are tiny: two threads on a busy machine wait for each other most of the time."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def static_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    """By kind of decoder; float32."""
    folder: Path = tmp_path_factory.mktemp("twins") / "cogact"
    write_cogact_twin(folder)
    config = ModelConfig("cogact", str(folder), dtype="float32", unnorm_key="bridge_orig")
    causal = tiny()
    return {
        "bidirectional": loaded(small(TINY_OFT)),
        "causal": causal,
        "speculative": replace(causal, decode="speculative"),
        "cogact": load_model(config),
    }
