"""Tiny twins of the tiny models: 56 px, 16 patches a view, 4 layers, seeded float32."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from vlacache.models.config import DecoderConfig, TowerConfig, VLAConfig
from vlacache.models.factory import LoadedModel, ModelInfo, untrained
from vlacache.models.tiny import TINY_OPENVLA
from vlacache.models.tokenizer import TinyTokenizer
from vlacache.models.twin import emphasise_actions
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


def tiny() -> LoadedModel:
    """tiny_openvla whose tokens differ from picture to picture."""
    model = loaded(small(TINY_OPENVLA))
    emphasise_actions(model.model.head.proj.weight, model.model.config)
    generator = torch.Generator().manual_seed(0)
    # Fresh weights hardly mix: the answer would be one token seven times over, for every picture.
    model.model.embed.weight.copy_(0.5 * torch.randn(model.model.embed.weight.shape, generator=generator))
    for layer in model.model.decoder.layers:
        for linear in (layer.qkv, layer.out, layer.down):
            linear.weight.mul_(3.0)
    model.model.vision.projector.fc3.weight.mul_(30.0)
    return model


@functools.cache
def noise(size: int) -> dict[str, NDArray[np.uint8]]:
    """Two seeded pictures; to be copied."""
    rng = np.random.default_rng(0)
    return {name: rng.integers(40, 200, (size, size, 3), dtype=np.uint8) for name in ("agentview", "wrist")}


def observation(step: int = 0, *, size: int = 56, instruction: str = "pick up the bowl", moved: int = 0) -> Observation:
    """Two seeded pictures; ``moved`` shifts a bright square by so many pixels."""
    images = {name: picture.copy() for name, picture in noise(size).items()}
    for picture in images.values():
        picture[10:24, 4 + moved : 18 + moved] = 250
    proprio = np.array([0.0, 0.1, 1.1, 3.0, 0.0, 0.1, 0.02, -0.02], dtype=np.float32)
    return Observation(images, instruction, proprio, step)
