"""Sizes of CogACT models: the published ones, and those that a tiny checkpoint states in ``sizes.json``.

A published checkpoint says only which base VLM it has; all of CogACT shares one, and the denoiser's size follows from
its weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlacache.models.cogact.dit import DIT_SIZES, DiTConfig
from vlacache.models.config import DecoderConfig, TowerConfig, VLAConfig

#: ``vla.base_vlm`` of the published config.json.
BASE_VLM = "prism-dinosiglip-224px+7b"
#: The projector's first layer is this many times as wide as the concatenated features.
PROJECTOR_EXPANSION = 4
#: Not rounded as in the OpenVLA files: there is no saved image processor, so the towers' own numbers apply.
DINO_MEAN, DINO_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

DINO_TOWER = TowerConfig(
    image_size=224, patch_size=14, width=1024, depth=24, num_heads=16, mlp_hidden=4096, feature_block=22,
    num_registers=4, class_token=True, layer_scale=True, mean=DINO_MEAN, std=DINO_STD,
)  # fmt: skip
SIGLIP_TOWER = TowerConfig(
    image_size=224, patch_size=14, width=1152, depth=27, num_heads=16, mlp_hidden=4304, feature_block=25
)
#: Built from the configuration of meta-llama/Llama-2-7b-hf, so not with the class default 1e-6 of the OpenVLA files.
LLAMA = DecoderConfig(
    hidden_size=4096, intermediate_size=11008, num_layers=32, num_heads=32, vocab_size=32064, rms_eps=1e-5
)


@dataclass(frozen=True, slots=True)
class CogACTSizes:
    """Everything that fixes the shapes of a CogACT model."""

    dino: TowerConfig
    siglip: TowerConfig
    llm: DecoderConfig
    denoiser: DiTConfig

    def config(self, camera: str) -> VLAConfig:
        """The whole model, looking through one camera."""
        return VLAConfig(
            name="cogact",
            views=(camera,),
            towers=(self.dino, self.siglip),
            projector_hidden=PROJECTOR_EXPANSION * (self.dino.width + self.siglip.width),
            decoder=self.llm,
            causal=True,
            head="diffusion",
            chunk_length=self.denoiser.chunk_length,
            action_dim=self.denoiser.action_dim,
            denoiser=self.denoiser,
        )


def published_sizes(denoiser: str) -> CogACTSizes:
    """CogACT-Small (``DiT-S``), -Base (``DiT-B``) or -Large (``DiT-L``)."""
    return CogACTSizes(DINO_TOWER, SIGLIP_TOWER, LLAMA, DIT_SIZES[denoiser])


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
        ValueError: not JSON, or a field is missing.
    """
    try:
        data = json.loads(path.read_text())
        towers = data["towers"]
        return CogACTSizes(
            _tower(towers["featurizer"], DINO_MEAN, DINO_STD),
            _tower(towers["fused_featurizer"], SIGLIP_TOWER.mean, SIGLIP_TOWER.std),
            _decoder(data["llm"]),
            _denoiser(data["dit"]),
        )
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name}: expected sizes of towers, llm and dit, got: {error!r}") from error


def write_sizes(sizes: CogACTSizes, path: Path) -> None:
    """Inverse of ``read_sizes``."""
    towers = {"featurizer": _tower_fields(sizes.dino), "fused_featurizer": _tower_fields(sizes.siglip)}
    c, d = sizes.llm, asdict(sizes.denoiser)
    llm = {
        "hidden_size": c.hidden_size, "intermediate_size": c.intermediate_size, "num_hidden_layers": c.num_layers,
        "num_attention_heads": c.num_heads, "vocab_size": c.vocab_size, "rms_norm_eps": c.rms_eps,
        "rope_theta": c.rope_theta,
    }  # fmt: skip
    dit = {"future_action_window_size": d.pop("chunk_length") - 1, "in_channels": d.pop("action_dim"), **d}
    path.write_text(json.dumps({"towers": towers, "llm": llm, "dit": dit}, indent=2) + "\n")


def _tower(data: Mapping[str, Any], mean: tuple[float, float, float], std: tuple[float, float, float]) -> TowerConfig:
    return TowerConfig(
        image_size=data["image_size"], patch_size=data["patch_size"], width=data["embed_dim"], depth=data["depth"],
        num_heads=data["num_heads"], mlp_hidden=data["mlp_hidden"], feature_block=data["feature_block_index"],
        num_registers=data["reg_tokens"], class_token=data["class_token"], layer_scale=data["layer_scale"],
        mean=mean, std=std,
    )  # fmt: skip


def _tower_fields(tower: TowerConfig) -> dict[str, Any]:
    return {
        "image_size": tower.image_size, "patch_size": tower.patch_size, "embed_dim": tower.width,
        "depth": tower.depth, "num_heads": tower.num_heads, "mlp_hidden": tower.mlp_hidden,
        "feature_block_index": tower.feature_block, "reg_tokens": tower.num_registers,
        "class_token": tower.class_token, "layer_scale": tower.layer_scale,
    }  # fmt: skip


def _decoder(data: Mapping[str, Any]) -> DecoderConfig:
    return DecoderConfig(
        hidden_size=data["hidden_size"], intermediate_size=data["intermediate_size"],
        num_layers=data["num_hidden_layers"], num_heads=data["num_attention_heads"], vocab_size=data["vocab_size"],
        rms_eps=data["rms_norm_eps"], rope_theta=data["rope_theta"],
    )  # fmt: skip


def _denoiser(data: Mapping[str, Any]) -> DiTConfig:
    return DiTConfig(
        hidden_size=data["hidden_size"], depth=data["depth"], num_heads=data["num_heads"],
        token_size=data["token_size"], chunk_length=data["future_action_window_size"] + 1,
        action_dim=data["in_channels"], mlp_ratio=data["mlp_ratio"],
    )  # fmt: skip
