"""CogACT's native files: ``config.json``, ``dataset_statistics.json`` and one ``checkpoints/*.pt``.

The ``.pt`` is ``{"model": {vision_backbone, projector, llm_backbone, action_model[, ema_diffusion]}}``, float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vlacache.models.cogact.sizes import BASE_VLM, CogACTSizes, read_sizes, sizes_of_weights
from vlacache.models.config import VLAConfig
from vlacache.models.filling import KeyRule, fill_parameters
from vlacache.models.prismatic import VLAModel
from vlacache.models.weights import WeightFiles, open_torch

#: Files of a published folder that are needed (hub download, fingerprint).
FILES = ("config.json", "dataset_statistics.json", "checkpoints/*.pt")
SIZES_FILE = "sizes.json"
_POSITIONS = "model.action_model.net.positional_embedding"


def key_rules(config: VLAConfig) -> list[KeyRule]:
    """Where every key of a CogACT file goes.

    Ignored: what does not reach the output (vision blocks behind the feature block, final norms, the attention pool,
    the output projection, the embedder of past actions, of which the published models have none), RoPE tables and
    the moving average of the denoiser's weights.
    """
    rules = [
        KeyRule(r"model\.ema_diffusion\..*", None),
        KeyRule(r"model\.projector\.projector\.0\.(weight|bias)", r"vision.projector.fc1.\1"),
        KeyRule(r"model\.projector\.projector\.2\.(weight|bias)", r"vision.projector.fc2.\1"),
        KeyRule(r"model\.projector\.projector\.4\.(weight|bias)", r"vision.projector.fc3.\1"),
        KeyRule(r"model\.action_model\.net\.history_embedder\..*", None),
        KeyRule(r"model\.action_model\.net\.(.*)", r"head.net.\1"),
    ]
    for index, name in enumerate(("dino", "siglip")):
        prefix, tower = rf"model\.vision_backbone\.{name}_featurizer\.", config.towers[index]
        unused = "|".join(str(block) for block in range(tower.feature_block + 1, tower.depth))
        rules.append(KeyRule(rf"{prefix}(norm|attn_pool)\..*", None))
        if unused:
            rules.append(KeyRule(rf"{prefix}blocks\.({unused})\..*", None))
        rules.append(KeyRule(rf"{prefix}(.*)", rf"vision.towers.{index}.vit.\1"))
    return rules + _llm_rules()


def _llm_rules() -> list[KeyRule]:
    layer = r"model\.llm_backbone\.llm\.model\.layers\.(\d+)\."
    to = r"decoder.layers.\1."
    fused = [("self_attn.q_proj", "qkv", (0, 3)), ("self_attn.k_proj", "qkv", (1, 3)),
             ("self_attn.v_proj", "qkv", (2, 3)), ("self_attn.o_proj", "out", (0, 1)),
             ("mlp.gate_proj", "gate_up", (0, 2)), ("mlp.up_proj", "gate_up", (1, 2)),
             ("mlp.down_proj", "down", (0, 1)), ("input_layernorm", "input_norm", (0, 1)),
             ("post_attention_layernorm", "mlp_norm", (0, 1))]  # fmt: skip
    rules = [KeyRule(layer + theirs.replace(".", r"\.") + r"\.weight", f"{to}{ours}.weight", part)
             for theirs, ours, part in fused]  # fmt: skip
    return [
        *rules,
        KeyRule(r"model\.llm_backbone\.llm\..*rotary_emb\.inv_freq", None),
        KeyRule(r"model\.llm_backbone\.llm\.model\.embed_tokens\.weight", "embed.weight"),
        KeyRule(r"model\.llm_backbone\.llm\.model\.norm\.weight", "decoder.norm.weight"),
        KeyRule(r"model\.llm_backbone\.llm\.lm_head\.weight", None),
    ]


def weight_file(folder: Path) -> Path:
    """The one ``.pt`` file.

    Raises:
        FileNotFoundError: there is none. ValueError: there are several.
    """
    files = sorted((folder / "checkpoints").glob("*.pt"))
    if not files:
        raise FileNotFoundError(f"model.checkpoint: expected one checkpoints/*.pt in {folder}; there is none")
    if len(files) > 1:
        raise ValueError(f"model.checkpoint: expected one .pt in checkpoints/, got {[f.name for f in files]}")
    return files[0]


def read_statistics(folder: Path) -> dict[str, Any]:
    """``dataset_statistics.json``.

    Raises:
        FileNotFoundError: it is not there. ValueError: it is not JSON.
    """
    return _read_json(folder / "dataset_statistics.json")


def find_sizes(folder: Path, files: WeightFiles) -> CogACTSizes:
    """``sizes.json`` where the folder has one, else the published model that ``config.json`` and the weights name.

    Raises:
        FileNotFoundError: no config.json. ValueError: another architecture.
    """
    base = _base_vlm(_read_json(folder / "config.json"))
    if base != BASE_VLM:
        raise ValueError(
            f"model.checkpoint: expected a CogACT config.json with vla.base_vlm = {BASE_VLM!r}, got {base!r}"
        )
    if (folder / SIZES_FILE).is_file():
        return read_sizes(folder / SIZES_FILE)
    if _POSITIONS not in files.tensors:
        raise ValueError(f"model.checkpoint: expected the key {_POSITIONS!r} of CogACT's denoiser; it is not there")
    return sizes_of_weights(files.tensors[_POSITIONS].shape)


def load_weights(config: VLAConfig, files: WeightFiles, *, device: torch.device, dtype: torch.dtype) -> VLAModel:
    """A model with the file's weights; the denoiser stays in float32, as published.

    Raises:
        ValueError: keys that are missing, unknown or of wrong shape or dtype; the message names them.
    """
    with torch.device("meta"):
        model = VLAModel(config)

    def chosen(parameter: str) -> torch.dtype:
        return torch.float32 if parameter.startswith("head.") else dtype

    fill_parameters(model, files, key_rules(config), device=device, dtype=chosen, what="CogACT checkpoint")
    return model


def open_weights(folder: Path) -> WeightFiles:
    """Names and shapes of the folder's weights."""
    return open_torch(weight_file(folder))


def _base_vlm(data: Mapping[str, Any]) -> Any:
    vla = data.get("vla")
    return vla.get("base_vlm") if isinstance(vla, Mapping) else None


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"model.checkpoint: expected {path.name} in {path.parent}; it is not there")
    try:
        data = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"model.checkpoint: {path.name} is not valid JSON ({error})") from error
    if not isinstance(data, dict):
        raise ValueError(f"model.checkpoint: expected {path.name} to hold a JSON object, got {type(data).__name__}")
    return data
