"""Tiny twins of the published checkpoints, in their file formats, with seeded weights that mean nothing.

Same key names, sharding, JSON files and dtypes as on the hub, so that loading, inference and caching are tested on
the files that users have. ``config.json`` says that the weights are untrained.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from torch import Tensor

from vlacache.models.config import DecoderConfig, TowerConfig, VLAConfig
from vlacache.models.fields import Fields, read_json
from vlacache.models.published import LIBERO_STEPS, TOWERS_FILE, UNTRAINED_KEY, oft_config, openvla_config
from vlacache.models.published_keys import Shapes, action_head_shapes, proprio_projector_shapes, vlm_shapes
from vlacache.models.tokenizer import TINY_TOKENIZER

#: 56 px, 16 patches a view. The odd MLP width is meant: SigLIP's is no multiple of its width either.
DINO = TowerConfig(
    image_size=56, patch_size=14, width=32, depth=3, num_heads=4, mlp_hidden=128, feature_block=1, num_registers=4,
    class_token=True, layer_scale=True,
    mean=(0.484375, 0.455078125, 0.40625), std=(0.228515625, 0.2236328125, 0.224609375),
)  # fmt: skip
SIGLIP = TowerConfig(image_size=56, patch_size=14, width=48, depth=4, num_heads=4, mlp_hidden=179, feature_block=2)
DECODER = DecoderConfig(hidden_size=64, intermediate_size=128, num_layers=4, num_heads=4, vocab_size=32064)
#: So that there are as many shards as on the hub: 3 and 4 (in bfloat16).
SHARD_BYTES = {"openvla": 1_000_000, "openvla_oft": 500_000}
#: What twins of all models consist of.
TWIN_FILES = ("*.safetensors", "*.safetensors.index.json", "*_checkpoint.pt", "checkpoints/*.pt", "*.json")
#: A round number of steps in the names of OFT's extra files.
STEP = 1000

#: Quantiles as LIBERO's: position and rotation in controller units, the gripper outside the mask.
_ACTION = {
    "mask": [True] * 6 + [False],
    "q01": [-0.75, -0.66, -0.94, -0.11, -0.21, -0.18, 0.0],
    "q99": [0.94, 0.88, 0.93, 0.10, 0.18, 0.15, 1.0],
}
_PROPRIO = {
    "q01": [-0.27, -0.24, 0.92, 2.78, -1.32, -0.42, 0.0015, -0.0399],
    "q99": [0.14, 0.36, 1.29, 3.28, 0.93, 0.63, 0.0399, -0.0017],
}
STATISTICS: dict[str, Any] = {
    f"{suite}_no_noops": {"action": _ACTION, "proprio": _PROPRIO}
    for suite in ("libero_spatial", "libero_object", "libero_goal", "libero_10")
}


def twin_config(name: str) -> VLAConfig:
    """The twin's sizes, without statistics. ``name``: ``openvla`` or ``openvla_oft``."""
    config = openvla_config((DINO, SIGLIP), DECODER, Fields({}, ""), LIBERO_STEPS, "libero")
    return config if name == "openvla" else oft_config(config, (-1.0,) * 8, (1.0,) * 8, ())


def write_openvla_twin(folder: Path, name: str, *, seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write a twin of ``openvla`` (3 shards) or ``openvla_oft`` (4 shards, action head, proprio projector).

    Args:
        folder: see ``make_folder``.

    Raises:
        ValueError: see ``make_folder``.
    """
    config = twin_config(name)
    make_folder(folder)
    state = seeded_state(vlm_shapes(config), seed, dtype)
    emphasise_actions(state["language_model.lm_head.weight"], config)
    save_torch_state_dict(state, folder, max_shard_size=SHARD_BYTES[name])
    if name == "openvla_oft":
        head = seeded_state(action_head_shapes(config), seed + 1, dtype)
        proprio = seeded_state(proprio_projector_shapes(config), seed + 2, dtype)
        torch.save(head, folder / f"action_head--{STEP}_checkpoint.pt")
        torch.save(proprio, folder / f"proprio_projector--{STEP}_checkpoint.pt")
    _write_json(folder / "config.json", _config_json(config))
    _write_json(folder / "preprocessor_config.json", _preprocessor_json(config))
    _write_json(folder / "dataset_statistics.json", STATISTICS)
    names = ("featurizer", "fused_featurizer")
    _write_json(folder / TOWERS_FILE, {n: tower_sizes(t) for n, t in zip(names, config.towers, strict=True)})
    shutil.copyfile(TINY_TOKENIZER, folder / "tokenizer.json")


def make_folder(folder: Path) -> None:
    """A folder for a twin, made if need be; an earlier twin's files are removed, or two kinds could be mixed.

    Raises:
        ValueError: a file, or a folder that holds anything but a twin. Nothing is touched then.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output: expected a folder, got the file {folder.name}")
    if folder.is_dir() and any(folder.iterdir()):
        config = folder / "config.json"
        if not config.is_file() or read_json(config).get(UNTRAINED_KEY) is not True:
            raise ValueError(
                f"--output: expected a new or an empty folder, or an earlier twin, got {folder.name} with other files; "
                "nothing was written"
            )
        for pattern in TWIN_FILES:
            for file in folder.glob(pattern):
                file.unlink()
    folder.mkdir(parents=True, exist_ok=True)


def seeded_state(shapes: Shapes, seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Random weights that keep the size of what flows through: matrices by fan-in, norms around 1, small biases."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        if key.endswith("scale_factor") or (len(shape) == 1 and not key.endswith("bias")):
            values = 1.0 + 0.2 * noise
        elif len(shape) == 1:
            values = 0.1 * noise
        elif key.endswith(("embed_tokens.weight", "pos_embed", "_token", "latent")):
            values = 0.5 * noise
        else:
            values = noise / math.sqrt(math.prod(shape[1:]))
        state[key] = values.to(dtype)
    return state


def emphasise_actions(lm_head: Tensor, config: VLAConfig) -> None:
    """Make action ids win the argmax, so that the twin's actions differ from frame to frame."""
    lm_head[config.num_tokens - config.num_action_bins : config.num_tokens] *= 4.0


def tower_sizes(tower: TowerConfig) -> dict[str, Any]:
    """One entry of ``towers.json``; read back by ``published.tower_from_sizes``."""
    return {
        "image_size": tower.image_size,
        "patch_size": tower.patch_size,
        "embed_dim": tower.width,
        "depth": tower.depth,
        "num_heads": tower.num_heads,
        "mlp_hidden": tower.mlp_hidden,
        "feature_block_index": tower.feature_block,
        "reg_tokens": tower.num_registers,
        "class_token": tower.class_token,
        "layer_scale": tower.layer_scale,
    }


def _config_json(config: VLAConfig) -> dict[str, Any]:
    decoder = config.decoder
    return {
        "architectures": ["OpenVLAForActionPrediction"],
        "model_type": "openvla",
        "arch_specifier": "no-align+fused-gelu-mlp",
        "use_fused_vision_backbone": True,
        "image_resize_strategy": "resize-naive",
        "image_sizes": [tower.image_size for tower in config.towers],
        "timm_model_ids": ["tiny_dino", "tiny_siglip"],
        "n_action_bins": config.num_action_bins,
        "pad_to_multiple_of": config.vocab_padding,
        "text_config": {
            "model_type": "llama",
            "hidden_size": decoder.hidden_size,
            "intermediate_size": decoder.intermediate_size,
            "num_hidden_layers": decoder.num_layers,
            "num_attention_heads": decoder.num_heads,
            "num_key_value_heads": decoder.num_heads,
            "vocab_size": decoder.vocab_size,
        },
        UNTRAINED_KEY: True,
    }


def _preprocessor_json(config: VLAConfig) -> dict[str, Any]:
    constants = [{"mean": list(t.mean), "std": list(t.std)} for t in config.towers]
    return {
        "image_resize_strategy": "resize-naive",
        "means": [[0.485, 0.456, 0.406], [0.5, 0.5, 0.5]],
        "stds": [[0.229, 0.224, 0.225], [0.5, 0.5, 0.5]],
        "tvf_normalize_params": constants,
    }


def _write_json(file: Path, data: dict[str, Any]) -> None:
    file.write_text(json.dumps(data, indent=2) + "\n")
