"""Tiny twins of the tiny models: 56 px, 16 patches a view, 4 layers, seeded float32."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vlacache.models.config import DecoderConfig, TowerConfig, VLAConfig
from vlacache.models.factory import LoadedModel, ModelInfo, untrained
from vlacache.models.tokenizer import TinyTokenizer
from vlacache.types import Observation

TOWER = TowerConfig(
    image_size=56, patch_size=14, width=48, depth=2, num_heads=3, mlp_hidden=96, feature_block=1,
    num_registers=2, class_token=True, layer_scale=True,
)  # fmt: skip
DECODER = DecoderConfig(hidden_size=64, intermediate_size=96, num_layers=4, num_heads=4, vocab_size=768)


def small(config: VLAConfig) -> VLAConfig:
    """The same kind of model, two towers, a few thousand times cheaper."""
    second = replace(TOWER, width=32, num_heads=2, num_registers=0, class_token=False, layer_scale=False)
    return replace(config, towers=(TOWER, second), projector_hidden=40, decoder=DECODER)


def loaded(config: VLAConfig, seed: int = 0) -> LoadedModel:
    """An untrained model in float32."""
    model = untrained(config, seed).eval().requires_grad_(False)
    info = ModelInfo(config.name, "untrained", f"seed {seed}", "float32", 4, config.views, config.grid, 0)
    return LoadedModel(model, TinyTokenizer(), info, config.chunk_length)


def observation(step: int = 0, *, size: int = 56, instruction: str = "pick up the bowl", moved: int = 0) -> Observation:
    """Two seeded pictures; ``moved`` shifts a bright square by so many pixels."""
    rng = np.random.default_rng(0)
    images = {name: rng.integers(40, 200, (size, size, 3), dtype=np.uint8) for name in ("agentview", "wrist")}
    for picture in images.values():
        picture[10:24, 4 + moved : 18 + moved] = 250
    proprio = np.array([0.0, 0.1, 1.1, 3.0, 0.0, 0.1, 0.02, -0.02], dtype=np.float32)
    return Observation(images, instruction, proprio, step)
