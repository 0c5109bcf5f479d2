"""The oracle's tensors, and a skip where they are absent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from vlacache.models.cogact.twin import write_cogact_twin


@pytest.fixture(scope="session")
def oracle_folder(oracles_dir: Path) -> Path:
    """``models/cogact_tiny`` of the oracles."""
    return oracles_dir / "models" / "cogact_tiny"


@pytest.fixture(scope="session")
def oracle(oracle_folder: Path) -> Mapping[str, Tensor]:
    """What the published code computed."""
    return load_file(oracle_folder / "expected.safetensors")


@pytest.fixture(scope="session")
def oracle_statistics(oracle_folder: Path) -> dict[str, Any]:
    """The oracle checkpoint's data set statistics."""
    return json.loads((oracle_folder / "checkpoint" / "dataset_statistics.json").read_text())


@pytest.fixture(scope="session")
def twin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny twin in CogACT's native file format; tests must not write into it."""
    folder = tmp_path_factory.mktemp("twins") / "cogact"
    write_cogact_twin(folder)
    return folder
