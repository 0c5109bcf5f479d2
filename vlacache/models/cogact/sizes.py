"""Sizes of CogACT models: the published ones, and those that a tiny checkpoint states in ``sizes.json``.

A published checkpoint says only which base VLM it has; all of CogACT shares one, and the denoiser's size follows from
its weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from vlacache.core.layout import REFERENCE_LAYERS
from vlacache.models.cogact.dit import DIT_SIZES, DiTConfig
from vlacache.models.config import MAX_TOKENS, DecoderConfig, TowerConfig, VLAConfig
from vlacache.models.fields import Fields, read_fields
from vlacache.models.published import TOWERS, check_heads, tower_from_sizes
from vlacache.models.robots import Robot
from vlacache.models.statistics import Bounds

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
            max_tokens=MAX_TOKENS,
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
    data = read_fields(path)
    towers = data.child("towers")
    dino, siglip = (tower_from_sizes(towers.child(name)) for name in ("featurizer", "fused_featurizer"))
    if "mean" not in towers.child("featurizer"):
        dino = replace(dino, mean=DINO.mean, std=DINO.std)
    return CogACTSizes((dino, siglip), _decoder(data.child("llm")), _denoiser(data.child("dit")))


def _decoder(llm: Fields) -> DecoderConfig:
    decoder = DecoderConfig(
        hidden_size=llm.integer("hidden_size"),
        intermediate_size=llm.integer("intermediate_size"),
        num_layers=llm.integer("num_hidden_layers"),
        num_heads=llm.integer("num_attention_heads"),
        vocab_size=llm.integer("vocab_size"),
        rms_eps=llm.positive("rms_norm_eps"),
        rope_theta=llm.positive("rope_theta"),
    )
    check_heads(decoder, llm.where)
    return decoder


def _denoiser(dit: Fields) -> DiTConfig:
    width, heads = dit.integer("hidden_size"), dit.integer("num_heads")
    if width % heads:
        raise ValueError(f"{dit.where}: hidden_size: expected a multiple of num_heads ({heads}), got {width}")
    return DiTConfig(
        hidden_size=width,
        depth=dit.integer("depth"),
        num_heads=heads,
        token_size=dit.integer("token_size"),
        chunk_length=dit.integer("future_action_window_size") + 1,
        action_dim=dit.integer("in_channels"),
        mlp_ratio=dit.positive("mlp_ratio"),
    )
