"""Sizes of CogACT models: the published ones, and those that a tiny checkpoint states in ``sizes.json``.

A published checkpoint says only which base VLM it has; all of CogACT shares one, and the denoiser's size follows from
its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlacache.core.layout import REFERENCE_LAYERS
from vlacache.models.cogact.dit import DIT_SIZES, DiTConfig
from vlacache.models.config import DecoderConfig, TowerConfig, VLAConfig
from vlacache.models.published import TOWERS, Bounds, read_json, tower_from_sizes
from vlacache.models.robots import Robot

#: The projector's first layer is this many times as wide as the concatenated features.
PROJECTOR_EXPANSION = 4
#: With the towers' nominal pixel constants: CogACT has no saved image processor, so nothing rounded them. The RMS eps
#: is that of meta-llama/Llama-2-7b-hf, from whose configuration CogACT is built, not the class default of OpenVLA.
DINO, SIGLIP = TOWERS.values()
LLAMA = DecoderConfig(4096, 11008, REFERENCE_LAYERS, 32, 32064, rms_eps=1e-5)


@dataclass(frozen=True, slots=True)
class CogACTSizes:
    """Everything that fixes the shapes of a CogACT model. ``towers``: DINOv2, SigLIP."""

    towers: tuple[TowerConfig, TowerConfig]
    llm: DecoderConfig
    denoiser: DiTConfig

    def config(self, robot: Robot, bounds: Bounds) -> VLAConfig:
        """The whole model for one robot; ``bounds``: low, high and mask of its actions."""
        low, high, mask = bounds
        return VLAConfig(
            name="cogact",
            views=(robot.camera,),
            towers=self.towers,
            projector_hidden=PROJECTOR_EXPANSION * sum(tower.width for tower in self.towers),
            decoder=self.llm,
            causal=True,
            head="diffusion",
            chunk_length=self.denoiser.chunk_length,
            action_dim=self.denoiser.action_dim,
            action_low=low,
            action_high=high,
            action_mask=mask,
            image_steps=("bicubic",),
            denoiser=self.denoiser,
            robot=robot.name,
        )


def published_sizes(denoiser: str) -> CogACTSizes:
    """CogACT-Small (``DiT-S``), -Base (``DiT-B``) or -Large (``DiT-L``)."""
    return CogACTSizes((DINO, SIGLIP), LLAMA, DIT_SIZES[denoiser])


def sizes_of_weights(positional_embedding: tuple[int, ...]) -> CogACTSizes:
    """The published model whose denoiser has a positional table of this shape, [T + 1, width].

    Raises:
        ValueError: no published denoiser is that wide.
    """
    for name, config in DIT_SIZES.items():
        if positional_embedding == (config.chunk_length + 1, config.hidden_size):
            return published_sizes(name)
    known = {name: [c.chunk_length + 1, c.hidden_size] for name, c in DIT_SIZES.items()}
    raise ValueError(
        f"CogACT: expected a denoiser whose positional table is one of {known}, got {list(positional_embedding)}; "
        "a model of other sizes needs a sizes.json beside config.json"
    )


def read_sizes(path: Path) -> CogACTSizes:
    """Sizes stated in fields: ``towers.{featurizer, fused_featurizer}``, ``llm`` and ``dit``.

    Raises:
        FileNotFoundError: no such file. ValueError: not JSON, or a field is missing or of the wrong kind.
    """
    data = read_json(path)
    try:
        dino, siglip = (tower_from_sizes(data["towers"][name]) for name in ("featurizer", "fused_featurizer"))
        dino = replace(dino, mean=DINO.mean, std=DINO.std)
        return CogACTSizes((dino, siglip), _decoder(data["llm"]), _denoiser(data["dit"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name}: expected sizes of towers, llm and dit, got: {error!r}") from error


def _decoder(data: Mapping[str, Any]) -> DecoderConfig:
    return DecoderConfig(
        hidden_size=int(data["hidden_size"]),
        intermediate_size=int(data["intermediate_size"]),
        num_layers=int(data["num_hidden_layers"]),
        num_heads=int(data["num_attention_heads"]),
        vocab_size=int(data["vocab_size"]),
        rms_eps=float(data["rms_norm_eps"]),
        rope_theta=float(data["rope_theta"]),
    )


def _denoiser(data: Mapping[str, Any]) -> DiTConfig:
    return DiTConfig(
        hidden_size=int(data["hidden_size"]),
        depth=int(data["depth"]),
        num_heads=int(data["num_heads"]),
        token_size=int(data["token_size"]),
        chunk_length=int(data["future_action_window_size"]) + 1,
        action_dim=int(data["in_channels"]),
        mlp_ratio=float(data["mlp_ratio"]),
    )
