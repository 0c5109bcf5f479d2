"""OpenVLA and OpenVLA-OFT from their published files."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from vlacache.models.config import VLAConfig
from vlacache.models.filling import KeyRule, fill_parameters, plan_model
from vlacache.models.memory import Beside, nothing_beside, require_memory
from vlacache.models.prismatic import VLAModel
from vlacache.models.published import read_config
from vlacache.models.published_keys import action_head_shapes, proprio_projector_shapes, vlm_shapes
from vlacache.models.request import ModelConfig
from vlacache.models.tokenizer import GivenIds, LlamaTokenizer, PromptEnd, TextTokenizer, end_with_space
from vlacache.models.weights import WeightFiles, open_safetensors, open_torch

#: Files of a checkpoint that are read; the adapter's weights are merged already.
PATTERNS = ("*.json", "*.safetensors", "*_checkpoint.pt")
IGNORED_FILES = ("lora_adapter/*",)
#: Of these, what says which model it is: a few MB.
DESCRIPTION = ("*.json",)
#: Prefixes of our own for the keys of OFT's two extra files.
_HEAD, _PROPRIO = "action_head.", "proprio_projector."


def check_room(folder: Path, config: ModelConfig, device: torch.device, dtype: torch.dtype, beside: Beside) -> None:
    """Refuse by the files of ``DESCRIPTION`` alone what ``load_openvla`` would refuse: before 15 GB are downloaded.

    Raises:
        FileNotFoundError, ValueError, RuntimeError: see ``load_openvla``.
    """
    sizes = read_config(folder, config.name, config.unnorm_key, config.sizes_file)
    num_bytes = empty_model(sizes).num_parameters() * dtype.itemsize
    require_memory(num_bytes, device, what=str(config.checkpoint), beside=beside(sizes, dtype))


def load_openvla(
    folder: Path,
    name: str,
    unnorm_key: str | None,
    *,
    device: torch.device,
    dtype: torch.dtype,
    beside: Beside = nothing_beside,
    sizes: Path | None = None,
) -> VLAModel:
    """Build the model that a folder holds and fill it, straight to the device.

    Args:
        name: ``openvla`` or ``openvla_oft``. unnorm_key: data set whose statistics the actions are scaled with.
        sizes: a ``towers.json`` in place of the folder's.
        beside: what the caller is going to hold on the device too.

    Raises:
        FileNotFoundError: a file or shard is missing. ValueError: another model, an unknown key, weights that do not
            fit. RuntimeError: too little memory on the device.
    """
    config = read_config(folder, name, unnorm_key, sizes)
    files = open_weights(folder, name)
    model = empty_model(config)
    rules, keys = key_rules(config), published_keys(config)
    plan_model(model, files, rules, folder.name, keys)  # before memory: wrong sizes are no lack of it
    num_bytes = model.num_parameters() * dtype.itemsize
    require_memory(num_bytes, device, what=folder.name, beside=beside(config, dtype))
    fill_parameters(model, files, rules, device=device, dtype=dtype, what=folder.name, published=keys)
    return model


def published_keys(config: VLAConfig) -> list[str]:
    """Every key of the files, those of OFT's extra files under our prefixes."""
    keys = list(vlm_shapes(config))
    if config.name == "openvla_oft":
        keys += [_HEAD + key for key in action_head_shapes(config)]
        keys += [_PROPRIO + key for key in proprio_projector_shapes(config)]
    return keys


def empty_model(config: VLAConfig) -> VLAModel:
    """The modules with parameters on the meta device and real constants."""
    with torch.device("meta"):
        return VLAModel(config)


def load_llama_tokenizer(
    folder: Path, input_ids: tuple[int, ...] | None, vocab_size: int, end: PromptEnd = end_with_space
) -> TextTokenizer:
    """``tokenizer.json`` of the folder, or the given ids; ``end`` is how the model's prompts end.

    Raises:
        FileNotFoundError: neither.
    """
    if input_ids is not None:
        return GivenIds(input_ids, vocab_size, end)
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise FileNotFoundError(f"checkpoint: expected tokenizer.json in {folder}, or input_ids in place of a text")
    return LlamaTokenizer(file, end)


def open_weights(folder: Path, name: str) -> WeightFiles:
    """The shards, for OFT with its action head and proprio projector.

    Raises:
        ValueError: a head where none belongs, not exactly one of each, of different steps, or files of another variant.
    """
    files = open_safetensors(folder)
    heads = sorted(folder.glob("action_head--*_checkpoint.pt"))
    if name == "openvla":
        if heads:
            raise ValueError(f"{folder.name}: expected OpenVLA, got OFT's {heads[0].name}; use model=openvla_oft")
        return files
    projectors = sorted(folder.glob("proprio_projector--*_checkpoint.pt"))
    for kind, found in (("action_head", heads), ("proprio_projector", projectors)):
        if len(found) != 1:
            raise ValueError(
                f"{folder.name}: expected exactly one {kind}--<step>_checkpoint.pt, got {[f.name for f in found]}; "
                "OpenVLA without OFT's files is model=openvla"
            )
    others = sorted(set(folder.glob("*_checkpoint.pt")) - {heads[0], projectors[0]})
    if others:
        raise ValueError(
            f"{folder.name}: expected an action head and a proprio projector, got {[f.name for f in others]} too; "
            "OFT's variants with FiLM or a diffusion head are other models, which are not supported"
        )
    steps = {file.name.removesuffix("_checkpoint.pt").rpartition("--")[2] for file in (heads[0], projectors[0])}
    if len(steps) != 1:
        raise ValueError(
            f"{folder.name}: expected action head and proprio projector of the same step, got {heads[0].name} and "
            f"{projectors[0].name}"
        )
    return files | open_torch(heads[0]).prefixed(_HEAD) | open_torch(projectors[0]).prefixed(_PROPRIO)


def key_rules(config: VLAConfig) -> list[KeyRule]:
    """Published key -> parameter. Ignored: what the features do not depend on, and the text head where none is used."""
    rules = [KeyRule(r"language_model\..*\.rotary_emb\.inv_freq", None)]
    for index, (tower, prefix) in enumerate(zip(config.towers, ("featurizer", "fused_featurizer"), strict=True)):
        old = re.escape(f"vision_backbone.{prefix}.")
        unused = "|".join(str(block) for block in range(tower.feature_block + 1, tower.depth))
        rules += [
            KeyRule(rf"{old}(?:blocks\.(?:{unused})|norm|attn_pool)\..*", None, published_only=True),
            KeyRule(rf"{old}(blocks\.\d+\.ls[12])\.scale_factor", rf"vision.towers.{index}.vit.\1.gamma"),
            KeyRule(rf"{old}(.*)", rf"vision.towers.{index}.vit.\1"),
        ]
    rules += [
        KeyRule(r"projector\.(fc[123]\..*)", r"vision.projector.\1"),
        KeyRule(r"language_model\.model\.embed_tokens\.weight", "embed.weight"),
        KeyRule(r"language_model\.model\.norm\.weight", "decoder.norm.weight"),
        *layer_rules(r"language_model\.model\."),
    ]
    if config.head == "token_bins":
        return [*rules, KeyRule(r"language_model\.lm_head\.weight", "head.proj.weight")]
    return [*rules, KeyRule(r"language_model\.lm_head\.weight", None), *_oft_rules()]


def layer_rules(prefix: str) -> list[KeyRule]:
    """Llama's decoder layers, q, k, v and gate, up fused."""
    layer = prefix + r"layers\.(\d+)\."
    rules = [
        KeyRule(layer + r"input_layernorm\.weight", r"decoder.layers.\1.input_norm.weight"),
        KeyRule(layer + r"post_attention_layernorm\.weight", r"decoder.layers.\1.mlp_norm.weight"),
        KeyRule(layer + r"self_attn\.o_proj\.weight", r"decoder.layers.\1.out.weight"),
        KeyRule(layer + r"mlp\.down_proj\.weight", r"decoder.layers.\1.down.weight"),
    ]
    for target, module, parts in (("qkv", "self_attn", "qkv"), ("gate_up", "mlp", ("gate", "up"))):
        rules += [
            KeyRule(rf"{layer}{module}\.{part}_proj\.weight", rf"decoder.layers.\1.{target}.weight", (i, len(parts)))
            for i, part in enumerate(parts)
        ]
    return rules


def _oft_rules() -> list[KeyRule]:
    """Keys of both files carry the prefix of the data-parallel wrapper."""
    head, proprio = re.escape(_HEAD + "module.model."), re.escape(_PROPRIO + "module.")
    return [
        KeyRule(head + r"layer_norm([12])\.(.*)", r"head.norm\1.\2"),
        KeyRule(head + r"(fc[12]\..*)", r"head.\1"),
        KeyRule(head + r"mlp_resnet_blocks\.(\d+)\.ffn\.0\.(.*)", r"head.blocks.\1.norm.\2"),
        KeyRule(head + r"mlp_resnet_blocks\.(\d+)\.ffn\.1\.(.*)", r"head.blocks.\1.fc.\2"),
        KeyRule(proprio + r"(fc[12]\..*)", r"proprio.\1"),
    ]
