"""The published OpenVLA family as configs: sizes, statistics and constants, read from a checkpoint's JSON files.

Sources: ``config.json``, ``preprocessor_config.json`` and ``dataset_statistics.json`` of the checkpoints on the hub.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlacache.core.layout import REFERENCE_LAYERS
from vlacache.models.config import DecoderConfig, GripperRule, ImageStep, TowerConfig, VLAConfig
from vlacache.models.robots import robot_of

#: The two towers of all published checkpoints, by their timm names. Features come from the second-to-last block.
TOWERS: dict[str, TowerConfig] = {
    "vit_large_patch14_reg4_dinov2.lvd142m": TowerConfig(
        image_size=224, patch_size=14, width=1024, depth=24, num_heads=16, mlp_hidden=4096, feature_block=22,
        num_registers=4, class_token=True, layer_scale=True,
        mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
    ),
    "vit_so400m_patch14_siglip_224": TowerConfig(
        image_size=224, patch_size=14, width=1152, depth=27, num_heads=16, mlp_hidden=4304, feature_block=25,
    ),
}  # fmt: skip
#: In a checkpoint folder: sizes of towers that timm does not know (tiny twins).
TOWERS_FILE = "towers.json"

#: In the config.json of a twin that ``scripts/make_tiny_checkpoint.py`` wrote, so that no table calls it trained.
UNTRAINED_KEY = "vlacache_untrained_twin"

VIEWS = {"openvla": ("agentview",), "openvla_oft": ("agentview", "wrist")}
#: OFT's constants for LIBERO; upstream picks them by the name of the benchmark, no file has them.
OFT_CHUNK, OFT_ACTION_DIM, OFT_PROPRIO_DIM, OFT_EPSILON = 8, 7, 8, 1e-8
ACTION_DIM = 7
LIBERO_STEPS: tuple[ImageStep, ...] = ("jpeg", "lanczos", "crop")
#: What the SIMPLER forks of OpenVLA do with the camera's picture.
PLAIN_STEPS: tuple[ImageStep, ...] = ("lanczos",)


def read_config(folder: Path, name: str, unnorm_key: str | None) -> VLAConfig:
    """The model that a checkpoint folder describes.

    Args:
        name: ``openvla`` or ``openvla_oft``. unnorm_key: see ``select_statistics``.

    Raises:
        FileNotFoundError: a JSON file is missing. ValueError: another architecture, an option that is not supported,
            an unknown key, or statistics of the wrong size.
    """
    data = read_json(folder / "config.json")
    _check_architecture(data, folder.name)
    towers = read_towers(folder, data)
    key, statistics = select_statistics(read_statistics(folder, data), unnorm_key)
    config = openvla_config(towers, read_decoder(data), data, LIBERO_STEPS, "libero")
    low, high, mask = read_bounds(statistics, "action", key, ACTION_DIM)
    config = replace(config, action_low=low, action_high=high, action_mask=mask)
    if name == "openvla":
        return config if is_libero(key) else for_robot(config, key)
    if not is_libero(key):
        raise ValueError(
            f"model.unnorm_key: openvla_oft is built for LIBERO (chunks of {OFT_CHUNK}), got statistics of {key!r}"
        )
    low, high, mask = read_bounds(statistics, "proprio", key, OFT_PROPRIO_DIM)
    return oft_config(config, low, high, mask)


def is_libero(unnorm_key: str) -> bool:
    """Statistics of a LIBERO suite."""
    return unnorm_key.startswith("libero")


def for_robot(config: VLAConfig, unnorm_key: str) -> VLAConfig:
    """OpenVLA on the SIMPLER robot whose data the statistics are of: its camera, its rules, no JPEG and no crop.

    Raises:
        ValueError: data of another robot. Its gripper's sign and its rotations would reach the simulator unconverted.
    """
    robot = robot_of(unnorm_key)
    return replace(config, views=(robot.camera,), image_steps=PLAIN_STEPS, gripper="as_is", robot=robot.name)


def openvla_config(
    towers: tuple[TowerConfig, ...],
    decoder: DecoderConfig,
    data: Mapping[str, Any],
    image_steps: tuple[ImageStep, ...],
    gripper: GripperRule,
) -> VLAConfig:
    """OpenVLA of any size, without statistics."""
    return VLAConfig(
        name="openvla",
        views=VIEWS["openvla"],
        towers=towers,
        projector_hidden=4 * sum(tower.width for tower in towers),
        decoder=decoder,
        causal=True,
        head="token_bins",
        chunk_length=1,
        num_action_bins=int(data.get("n_action_bins", 256)),
        vocab_padding=int(data.get("pad_to_multiple_of", 64)),
        image_steps=image_steps,
        gripper=gripper,
    )


def oft_config(
    base: VLAConfig, proprio_low: tuple[float, ...], proprio_high: tuple[float, ...], proprio_mask: tuple[bool, ...]
) -> VLAConfig:
    """OFT on the same network: two views, proprio, bidirectional attention, a chunk by regression."""
    return replace(
        base,
        name="openvla_oft",
        views=VIEWS["openvla_oft"],
        causal=False,
        head="l1_chunk",
        chunk_length=OFT_CHUNK,
        action_dim=OFT_ACTION_DIM,
        action_epsilon=OFT_EPSILON,
        proprio_dim=OFT_PROPRIO_DIM,
        proprio_low=proprio_low,
        proprio_high=proprio_high,
        proprio_mask=proprio_mask,
    )


def full_size(name: str) -> VLAConfig:
    """The published 7B shapes without a checkpoint: for manifests and for random weights. Statistics are +-1."""
    decoder = DecoderConfig(4096, 11008, REFERENCE_LAYERS, 32, 32064)
    config = openvla_config(tuple(TOWERS.values()), decoder, {}, LIBERO_STEPS, "libero")
    config = replace(config, action_mask=(True,) * 6 + (False,))
    return config if name == "openvla" else oft_config(config, (-1.0,) * 8, (1.0,) * 8, ())


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        FileNotFoundError: no such file. ValueError: not a JSON object.
    """
    if not file.is_file():
        raise FileNotFoundError(f"checkpoint: expected {file.name} in {file.parent}; it is not there")
    try:
        data = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"checkpoint: {file.name} is not JSON ({error})") from error
    if not isinstance(data, dict):
        raise ValueError(f"checkpoint: expected an object in {file.name}, got {type(data).__name__}")
    return data


def _check_architecture(data: Mapping[str, Any], where: str) -> None:
    expected = {
        "model_type": "openvla",
        "arch_specifier": "no-align+fused-gelu-mlp",
        "use_fused_vision_backbone": True,
        "image_resize_strategy": "resize-naive",
    }
    wrong = [f"{k}={data.get(k)!r} (expected {v!r})" for k, v in expected.items() if data.get(k) != v]
    if wrong:
        raise ValueError(f"{where}: expected a checkpoint of the OpenVLA architecture, got {', '.join(wrong)}")


def read_decoder(data: Mapping[str, Any]) -> DecoderConfig:
    """Llama sizes; what ``text_config`` leaves out is LlamaConfig's default, as in the published loader."""
    text = data.get("text_config", {})
    heads = int(text.get("num_attention_heads", 32))
    supported = {
        "model_type": "llama",
        "num_key_value_heads": heads,
        "hidden_act": "silu",
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
    }
    wrong = [f"{k}={text[k]!r} (expected {v!r})" for k, v in supported.items() if k in text and text[k] != v]
    if wrong:
        raise ValueError(f"config.json: text_config has what this decoder does not support: {', '.join(wrong)}")
    return DecoderConfig(
        hidden_size=int(text.get("hidden_size", 4096)),
        intermediate_size=int(text.get("intermediate_size", 11008)),
        num_layers=int(text.get("num_hidden_layers", 32)),
        num_heads=heads,
        vocab_size=int(text.get("vocab_size", 32000)),
        rms_eps=float(text.get("rms_norm_eps", 1e-6)),
        rope_theta=float(text.get("rope_theta", 10000.0)),
    )


def read_towers(folder: Path, data: Mapping[str, Any]) -> tuple[TowerConfig, ...]:
    """Tower sizes by timm name, or from ``towers.json``; normalisation from ``preprocessor_config.json``.

    The saved constants are the nominal ones rounded to bfloat16, and the models were trained with those.
    """
    if (folder / TOWERS_FILE).is_file():
        towers = [tower_from_sizes(sizes) for sizes in read_json(folder / TOWERS_FILE).values()]
    else:
        names = data.get("timm_model_ids", [])
        unknown = [name for name in names if name not in TOWERS]
        if unknown or len(names) != 2:
            raise ValueError(
                f"config.json: expected timm_model_ids {list(TOWERS)}, got {names}; for other towers give their sizes "
                f"in {TOWERS_FILE}"
            )
        towers = [TOWERS[name] for name in names]
    sizes = data.get("image_sizes") or [tower.image_size for tower in towers]
    towers = [replace(tower, image_size=int(size)) for tower, size in zip(towers, sizes, strict=True)]
    if not (folder / "preprocessor_config.json").is_file():
        return tuple(towers)
    processor = read_json(folder / "preprocessor_config.json")
    nominal = [{"mean": m, "std": s} for m, s in zip(processor["means"], processor["stds"], strict=True)]
    constants = processor.get("tvf_normalize_params") or nominal
    return tuple(
        replace(tower, mean=tuple(own["mean"]), std=tuple(own["std"]))
        for tower, own in zip(towers, constants, strict=True)
    )


def tower_from_sizes(sizes: Mapping[str, Any]) -> TowerConfig:
    """One entry of ``towers.json``."""
    return TowerConfig(
        image_size=int(sizes["image_size"]),
        patch_size=int(sizes["patch_size"]),
        width=int(sizes["embed_dim"]),
        depth=int(sizes["depth"]),
        num_heads=int(sizes["num_heads"]),
        mlp_hidden=int(sizes["mlp_hidden"]),
        feature_block=int(sizes["feature_block_index"]),
        num_registers=int(sizes["reg_tokens"]),
        class_token=bool(sizes["class_token"]),
        layer_scale=bool(sizes["layer_scale"]),
    )


def read_statistics(folder: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    """``dataset_statistics.json``, which replaces the config's ``norm_stats`` where it is there."""
    file = folder / "dataset_statistics.json"
    statistics = read_json(file) if file.is_file() else data.get("norm_stats")
    if not statistics:
        raise ValueError(f"{folder.name}: expected norm_stats in config.json or a dataset_statistics.json, got neither")
    return dict(statistics)


def select_statistics(statistics: Mapping[str, Any], unnorm_key: str | None) -> tuple[str, Mapping[str, Any]]:
    """The statistics of a data set and their key.

    Args:
        unnorm_key: the key, or a suite whose key is ``<suite>_no_noops``; None where there is only one.

    Raises:
        ValueError: no such key, or none given and several there.
    """
    if unnorm_key is None:
        if len(statistics) == 1:
            return next(iter(statistics.items()))
        raise ValueError(f"model.unnorm_key: expected one of {sorted(statistics)}, got None")
    for key in (unnorm_key, f"{unnorm_key}_no_noops"):
        if key in statistics:
            return key, statistics[key]
    raise ValueError(
        f"model.unnorm_key: expected one of {sorted(statistics)} (the data sets of this checkpoint), got {unnorm_key!r}"
    )


Bounds = tuple[tuple[float, ...], tuple[float, ...], tuple[bool, ...]]


def read_bounds(statistics: Mapping[str, Any], kind: str, key: str, dim: int) -> Bounds:
    """1 % and 99 % quantiles and the mask (empty: all) of ``action`` or ``proprio``.

    Raises:
        ValueError: missing, of another size, or not finite.
    """
    own = statistics.get(kind, {})
    values: list[Sequence[float]] = [own.get(name) or () for name in ("q01", "q99")]
    is_finite = all(math.isfinite(entry) for bound in values for entry in bound)
    mask = tuple(bool(entry) for entry in own.get("mask") or ())
    if any(len(v) != dim for v in values) or len(mask) not in (0, dim) or not is_finite:
        raise ValueError(
            f"statistics of {key!r}: expected {dim} finite q01 and q99 of {kind} and a mask of that size or none, got "
            f"q01 {values[0]}, q99 {values[1]}, mask {mask}"
        )
    low, high = (tuple(float(entry) for entry in v) for v in values)
    return low, high, mask
