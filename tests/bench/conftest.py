"""Twins of the published models, and the episode in the repository."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vlacache.bench.episode import RecordedEpisode
from vlacache.models.cogact.twin import write_cogact_twin
from vlacache.models.factory import LoadedModel, ModelConfig, load_model
from vlacache.models.twin import write_openvla_twin


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """These tensors are tiny: threads would wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def episode() -> RecordedEpisode:
    """The episode that ships with the package: tiny_oft's own."""
    return RecordedEpisode.load()


@pytest.fixture(scope="session")
def twins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    """openvla, openvla_oft and cogact in published formats and float32; actions differ from frame to frame."""
    root: Path = tmp_path_factory.mktemp("twins")
    keys = {"openvla": "libero_spatial", "openvla_oft": "libero_spatial", "cogact": "fractal20220817_data"}
    loaded = {}
    for name, key in keys.items():
        folder = root / name
        if name == "cogact":
            write_cogact_twin(folder)
        else:
            write_openvla_twin(folder, name)
        loaded[name] = load_model(ModelConfig(name, str(folder), dtype="float32", unnorm_key=key))
    return loaded
