"""The published OpenVLA family as configs: sizes, statistics and constants, read from a checkpoint's JSON files.

Sources: ``config.json``, ``preprocessor_config.json`` and ``dataset_statistics.json`` of the checkpoints on the hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlacache.core.layout import REFERENCE_LAYERS
from vlacache.models.config import MAX_TOKENS, DecoderConfig, GripperRule, ImageStep, TowerConfig, VLAConfig
from vlacache.models.fields import Fields, is_integer, numbers, read_fields
from vlacache.models.robots import robot_of
from vlacache.models.statistics import read_bounds, read_statistics, select_statistics

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
#: In a checkpoint folder: sizes of towers that timm does not know (tiny twins), under their names in the weights.
TOWERS_FILE = "towers.json"
TOWER_NAMES = ("featurizer", "fused_featurizer")
#: Mean and standard deviation of the pixels, for each tower.
PIXELS_FILE = "preprocessor_config.json"
#: What a tower's entry may say besides sizes: the architecture that this code has, and nothing else.
TOWER_FACTS: dict[str, Any] = {"ln_eps": 1e-6, "act": "gelu_erf", "pos_embed_on_prefix": False}

#: In the config.json of a twin that ``scripts/make_tiny_checkpoint.py`` wrote, so that no table calls it trained.
UNTRAINED_KEY = "vlacache_untrained_twin"

VIEWS = {"openvla": ("agentview",), "openvla_oft": ("agentview", "wrist")}
#: OFT's constants for LIBERO; upstream picks them by the name of the benchmark, no file has them.
OFT_CHUNK, OFT_ACTION_DIM, OFT_PROPRIO_DIM, OFT_EPSILON = 8, 7, 8, 1e-8
ACTION_DIM = 7
LIBERO_STEPS: tuple[ImageStep, ...] = ("jpeg", "lanczos", "crop")
#: What the SIMPLER forks of OpenVLA do with the camera's picture.
PLAIN_STEPS: tuple[ImageStep, ...] = ("lanczos",)


def read_config(folder: Path, name: str, unnorm_key: str | None, sizes: Path | None = None) -> VLAConfig:
    """The model that a checkpoint folder describes.

    Args:
        name: ``openvla`` or ``openvla_oft``. unnorm_key: see ``select_statistics``. sizes: see ``read_towers``.

    Raises:
        FileNotFoundError: a JSON file is missing. ValueError: another architecture, an option that is not supported,
            an unknown key, or statistics of the wrong size.
    """
    data = read_fields(folder / "config.json")
    _check_architecture(data.data, folder.name)
    towers = read_towers(folder, data, sizes)
    key, statistics = select_statistics(read_statistics(folder, data), unnorm_key)
    config = openvla_config(towers, read_decoder(data), data, LIBERO_STEPS, "libero")
    low, high, mask = read_bounds(statistics, "action", ACTION_DIM)
    config = replace(config, action_low=low, action_high=high, action_mask=mask)
    if name == "openvla":
        return config if is_libero(key) else for_robot(config, key)
    if not is_libero(key):
        raise ValueError(
            f"model.unnorm_key: openvla_oft is built for LIBERO (chunks of {OFT_CHUNK}), got statistics of {key!r}"
        )
    low, high, mask = read_bounds(statistics, "proprio", OFT_PROPRIO_DIM)
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
    data: Fields,
    image_steps: tuple[ImageStep, ...],
    gripper: GripperRule,
) -> VLAConfig:
    """OpenVLA of any size, without statistics.

    Raises:
        ValueError: a vocabulary without room for the bins.
    """
    bins, padding = data.integer("n_action_bins", 256, least=2), data.integer("pad_to_multiple_of", 64, least=0)
    if bins + padding > decoder.vocab_size:
        raise ValueError(
            f"{data.where}: expected n_action_bins and pad_to_multiple_of within the vocabulary of "
            f"{decoder.vocab_size}, got {bins} and {padding}"
        )
    return VLAConfig(
        name="openvla",
        views=VIEWS["openvla"],
        towers=towers,
        projector_hidden=4 * sum(tower.width for tower in towers),
        decoder=decoder,
        causal=True,
        head="token_bins",
        chunk_length=1,
        num_action_bins=bins,
        vocab_padding=padding,
        image_steps=image_steps,
        gripper=gripper,
        max_tokens=data.integer("llm_max_length", MAX_TOKENS, least=1),
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
    config = openvla_config(tuple(TOWERS.values()), decoder, Fields({}, ""), LIBERO_STEPS, "libero")
    config = replace(config, action_mask=(True,) * 6 + (False,))
    return config if name == "openvla" else oft_config(config, (-1.0,) * 8, (1.0,) * 8, ())


def _check_architecture(data: Mapping[str, Any], where: str) -> None:
    expected = {
        "model_type": "openvla",
        "arch_specifier": "no-align+fused-gelu-mlp",
        "use_fused_vision_backbone": True,
        "image_resize_strategy": "resize-naive",
    }
    wrong = [f"{k}={data.get(k)!r} (expected {v!r})" for k, v in expected.items() if data.get(k) != v]
    if any(data.get("timm_override_act_layers") or ()):
        wrong.append(f"timm_override_act_layers={data['timm_override_act_layers']!r} (expected nothing but null)")
    if wrong:
        raise ValueError(f"{where}: expected a checkpoint of the OpenVLA architecture, got {', '.join(wrong)}")


def read_decoder(config: Fields) -> DecoderConfig:
    """Llama sizes; what ``text_config`` leaves out is LlamaConfig's default, as in the published loader.

    Raises:
        ValueError: an entry of the wrong kind, or something that this decoder does not support.
    """
    text = config.child("text_config")
    heads = text.integer("num_attention_heads", 32)
    supported = {
        "model_type": "llama",
        "num_key_value_heads": heads,
        "hidden_act": "silu",
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
    }
    wrong = [f"{k}={text.data[k]!r} (expected {v!r})" for k, v in supported.items() if k in text and text.data[k] != v]
    if wrong:
        raise ValueError(f"{text.where} has what this decoder does not support: {', '.join(wrong)}")
    decoder = DecoderConfig(
        hidden_size=text.integer("hidden_size", 4096),
        intermediate_size=text.integer("intermediate_size", 11008),
        num_layers=text.integer("num_hidden_layers", 32),
        num_heads=heads,
        vocab_size=text.integer("vocab_size", 32000),
        rms_eps=text.positive("rms_norm_eps", 1e-6),
        rope_theta=text.positive("rope_theta", 10000.0),
    )
    check_heads(decoder, text.where)
    return decoder


def check_heads(decoder: DecoderConfig, where: str) -> None:
    """Raise ``ValueError`` where heads do not divide the width, or RoPE has no pairs to turn."""
    if decoder.hidden_size % (2 * decoder.num_heads):
        raise ValueError(
            f"{where}: hidden_size: expected a multiple of 2 x num_attention_heads ({2 * decoder.num_heads}), got "
            f"{decoder.hidden_size}"
        )


def read_towers(folder: Path, config: Fields, sizes: Path | None = None) -> tuple[TowerConfig, ...]:
    """Tower sizes by timm name, or from ``towers.json``; normalisation from ``preprocessor_config.json``.

    The saved constants are the nominal ones rounded to bfloat16, and the models were trained with those.

    Args:
        sizes: a ``towers.json`` elsewhere, in place of the folder's.

    Raises:
        FileNotFoundError: no ``preprocessor_config.json``, and no mean and std in ``towers.json`` either.
        ValueError: towers that are not known, or an entry of the wrong kind.
    """
    if sizes is None and (folder / TOWERS_FILE).is_file():
        sizes = folder / TOWERS_FILE
    towers = _named_towers(config) if sizes is None else _sized_towers(sizes)
    if config.data.get("image_sizes"):
        sides = config.items("image_sizes", len(towers))
        if not all(is_integer(side) and side > 0 for side in sides):
            raise ValueError(f"{config.where}: image_sizes: expected {len(towers)} sizes in pixels, got {sides}")
        towers = [replace(tower, image_size=side) for tower, side in zip(towers, sides, strict=True)]
    if not (folder / PIXELS_FILE).is_file():
        if sizes is not None and _has_pixel_constants(sizes):
            return tuple(towers)
        raise FileNotFoundError(
            f"checkpoint: expected {PIXELS_FILE} in {folder}; it is not there, and the pixels are normalised by its "
            f"numbers, so copy it from the checkpoint's repository, or give mean and std of each tower in {TOWERS_FILE}"
        )
    constants = _pixel_constants(read_fields(folder / PIXELS_FILE), len(towers))
    return tuple(replace(tower, mean=mean, std=std) for tower, (mean, std) in zip(towers, constants, strict=True))


def _sized_towers(file: Path) -> list[TowerConfig]:
    sizes = read_fields(file)
    if set(sizes) != set(TOWER_NAMES):
        raise ValueError(f"{file.name}: expected the towers {list(TOWER_NAMES)}, got {list(sizes)}")
    return [tower_from_sizes(sizes.child(name)) for name in TOWER_NAMES]


def _has_pixel_constants(file: Path) -> bool:
    entries = read_fields(file)
    return all({"mean", "std"} <= set(entries.child(name)) for name in TOWER_NAMES)


def _named_towers(config: Fields) -> list[TowerConfig]:
    names = config.data.get("timm_model_ids", [])
    if names != list(TOWERS):
        raise ValueError(
            f"config.json: expected timm_model_ids {list(TOWERS)} in this order, got {names}; for other towers "
            f"give their sizes in {TOWERS_FILE}"
        )
    return [TOWERS[name] for name in names]


def _pixel_constants(processor: Fields, count: int) -> list[tuple[Triple, Triple]]:
    """Mean and standard deviation of the pixels for each tower."""
    if processor.data.get("tvf_normalize_params"):
        entries = processor.items("tvf_normalize_params", count)
        each = [Fields.of(e, f"{processor.where}: tvf_normalize_params: {i}") for i, e in enumerate(entries)]
        return [(_triple(own.numbers("mean", 3)), _spread(own.numbers("std", 3), own.where)) for own in each]
    means, stds = (
        [numbers(own, 3, f"{processor.where}: {key}: {i}") for i, own in enumerate(processor.items(key, count))]
        for key in ("means", "stds")
    )
    where = f"{processor.where}: stds"
    return [(_triple(mean), _spread(std, where)) for mean, std in zip(means, stds, strict=True)]


Triple = tuple[float, float, float]


def _triple(values: tuple[float, ...]) -> Triple:
    first, second, third = values
    return first, second, third


def _spread(values: tuple[float, ...], where: str) -> Triple:
    """Standard deviations, which pixels are divided by."""
    if min(values) <= 0:
        raise ValueError(f"{where}: std: expected numbers above 0, got {list(values)}")
    return _triple(values)


def tower_from_sizes(sizes: Fields) -> TowerConfig:
    """One entry of ``towers.json``.

    Raises:
        ValueError: an entry that is missing or of the wrong kind, or a tower that this code would compute otherwise.
    """
    for key, supported in TOWER_FACTS.items():
        if sizes.data.get(key, supported) != supported:
            raise ValueError(f"{sizes.where}: {key}: expected {supported!r}, got {sizes.data[key]!r}")
    width, heads = sizes.integer("embed_dim"), sizes.integer("num_heads")
    if width % heads:
        raise ValueError(f"{sizes.where}: embed_dim: expected a multiple of num_heads ({heads}), got {width}")
    depth, block = sizes.integer("depth"), sizes.integer("feature_block_index", least=0)
    if block >= depth:
        raise ValueError(f"{sizes.where}: feature_block_index: expected less than depth ({depth}), got {block}")
    tower = TowerConfig(
        image_size=sizes.integer("image_size"),
        patch_size=sizes.integer("patch_size"),
        width=width,
        depth=depth,
        num_heads=heads,
        mlp_hidden=sizes.integer("mlp_hidden"),
        feature_block=block,
        num_registers=sizes.integer("reg_tokens", least=0),
        class_token=sizes.flag("class_token"),
        layer_scale=sizes.flag("layer_scale"),
    )
    if "mean" not in sizes and "std" not in sizes:
        return tower
    return replace(tower, mean=_triple(sizes.numbers("mean", 3)), std=_spread(sizes.numbers("std", 3), sizes.where))
