"""The checkpoints that ship with the package: whole, small, what their card says, and found by name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from vlacache.models.factory import PACKAGED, ModelConfig, load_model, shipped_models

SHIPPED = [PACKAGED / name for name in shipped_models()]


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_the_folder_is_whole_and_small(folder: Path) -> None:
    names = {file.name for file in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "training.json", "card.json", "README.md"} <= names
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 14 << 20


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_the_card_is_about_these_weights(folder: Path) -> None:
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    card = json.loads((folder / "card.json").read_text())
    assert card["sha256"] == digest == json.loads((folder / "training.json").read_text())["sha256"]
    assert digest in (folder / "README.md").read_text()
    assert card["evaluations"]
    assert all(e["checkpoint"].endswith(f"@{digest[:12]}") for e in card["evaluations"])


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_builtin_is_the_shipped_folder(folder: Path) -> None:
    loaded = load_model(ModelConfig(folder.name, checkpoint="builtin", dtype="float32"))
    assert loaded.info.weights == "trained"
    assert loaded.info.checkpoint.startswith(f"{folder.name}@")
    assert all(bool(torch.isfinite(p).all()) for p in loaded.model.parameters())


def test_tiny_oft_ships() -> None:
    assert "tiny_oft" in shipped_models()
