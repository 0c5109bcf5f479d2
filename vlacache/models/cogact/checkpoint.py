"""CogACT's native files: ``config.json``, ``dataset_statistics.json`` and one ``checkpoints/*.pt``.

The ``.pt`` is ``{"model": {vision_backbone, projector, llm_backbone, action_model[, ema_diffusion]}}``, float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from vlacache.models.cogact.keys import native_shapes
from vlacache.models.cogact.sizes import CogACTSizes, published_sizes, read_sizes, sizes_of_weights
from vlacache.models.config import VLAConfig
from vlacache.models.fields import read_fields, read_json
from vlacache.models.filling import KeyRule, fill_parameters, plan_model
from vlacache.models.hub import find_checkpoint
from vlacache.models.memory import Beside, nothing_beside, require_memory
from vlacache.models.openvla import empty_model, layer_rules, load_llama_tokenizer
from vlacache.models.prismatic import VLAModel
from vlacache.models.request import ModelConfig
from vlacache.models.robots import robot_of
from vlacache.models.statistics import STATISTICS_FILE, read_bounds, select_statistics
from vlacache.models.tokenizer import SPACE_ID, TextTokenizer
from vlacache.models.weights import WeightFiles, open_torch

#: Files of a folder that are read. The published ones have no tokenizer.json and no sizes.json.
PATTERNS = ("config.json", "dataset_statistics.json", "tokenizer.json", "sizes.json", "checkpoints/*.pt")
SIZES_FILE = "sizes.json"
#: Of these, what says which model it is: a few MB.
DESCRIPTION = ("config.json", "dataset_statistics.json", SIZES_FILE)
#: Upstream takes the tokenizer of the gated meta-llama/Llama-2-7b-hf; this repository has the same vocabulary.
TOKENIZER_SOURCE = ("openvla/openvla-7b", "47a0ec7fc4ec123775a391911046cf33cf9ed83f")
TOKENIZER_FILE = "tokenizer.json"
#: ``vla.base_vlm`` of the published config.json.
BASE_VLM = "prism-dinosiglip-224px+7b"
#: Ends every prompt; the hidden state at its position is all that the action head sees.
COGNITION_ID = 2
_POSITIONS = "model.action_model.net.positional_embedding"


def end_with_cognition(ids: list[int]) -> list[int]:
    """Append the lone space and the cognition token; both always, whatever the prompt ends with (as upstream)."""
    return [*ids, SPACE_ID, COGNITION_ID]


def load_cognition_tokenizer(
    folder: Path, input_ids: tuple[int, ...] | None, vocab_size: int, *, is_from_hub: bool
) -> TextTokenizer:
    """The folder's tokenizer or the given ids; for a folder of the hub, which has none, OpenVLA's of the same hub.

    Raises:
        FileNotFoundError: a local folder without tokenizer. RuntimeError: the hub cannot be reached.
    """
    if input_ids is None and not (folder / TOKENIZER_FILE).is_file():
        repository, revision = TOKENIZER_SOURCE
        if not is_from_hub:
            raise FileNotFoundError(
                f"checkpoint: expected {TOKENIZER_FILE} in {folder}, or input_ids in place of a text; CogACT's files "
                f"come without, so copy that of {repository} (the same vocabulary) into the folder"
            )
        folder = find_checkpoint(repository, revision, patterns=(TOKENIZER_FILE,)).path
    return load_llama_tokenizer(folder, input_ids, vocab_size, end_with_cognition)


def check_room(folder: Path, config: ModelConfig, device: torch.device, dtype: torch.dtype, beside: Beside) -> None:
    """Refuse by the files of ``DESCRIPTION`` alone what ``load_cogact`` would refuse: before 30 GB are downloaded.

    They do not say how large the denoiser is, so it counts as the smallest: at most 1.3 GiB too little.

    Raises:
        FileNotFoundError, ValueError, RuntimeError: see ``load_cogact``.
    """
    model = empty_model(read_description(folder, config))
    num_bytes = needed_bytes(model, dtype)
    require_memory(num_bytes, device, what=str(config.checkpoint), beside=beside(model.config, dtype))


def read_description(folder: Path, config: ModelConfig) -> VLAConfig:
    """The model by the files of ``DESCRIPTION`` alone, its denoiser the smallest where they do not say how large.

    Raises:
        FileNotFoundError, ValueError: see ``load_cogact``.
    """
    _check_base_vlm(folder)
    sizes = stated_sizes(folder, config.sizes_file) or published_sizes("DiT-S")
    return read_config(folder, sizes, config.unnorm_key)


def needed_bytes(model: VLAModel, dtype: torch.dtype) -> int:
    """Of its weights: the denoiser's in float32, the others in ``dtype``."""
    kept = sum(p.numel() for p in model.head.parameters())
    return (model.num_parameters() - kept) * dtype.itemsize + kept * torch.float32.itemsize


def load_cogact(
    folder: Path,
    unnorm_key: str | None,
    *,
    device: torch.device,
    dtype: torch.dtype,
    beside: Beside = nothing_beside,
    sizes: Path | None = None,
) -> VLAModel:
    """Build the model that a folder holds and fill it, straight to the device; the denoiser stays in float32.

    Args:
        sizes: a ``sizes.json`` in place of the folder's.
        unnorm_key: data set whose statistics scale the actions; it names the robot too. beside: what the caller is
            going to hold on the device too.

    Raises:
        FileNotFoundError: a file is missing. ValueError: another architecture, an unknown key, weights that do not
            fit (the message names the keys). RuntimeError: too little memory on the device.
    """
    _check_base_vlm(folder)
    files = open_torch(weight_file(folder))
    config = read_config(folder, stated_sizes(folder, sizes) or find_sizes(folder, files), unnorm_key)
    return build_filled(config, files, device=device, dtype=dtype, what=folder.name, beside=beside)


def read_config(folder: Path, sizes: CogACTSizes, unnorm_key: str | None) -> VLAConfig:
    """The model of those sizes with the folder's statistics.

    Raises:
        FileNotFoundError: no statistics. ValueError: an unknown key, or one without robot.
    """
    key, statistics = select_statistics(read_fields(folder / STATISTICS_FILE), unnorm_key)
    return sizes.config(robot_of(key), read_bounds(statistics, "action", sizes.denoiser.action_dim))


def build_filled(
    config: VLAConfig,
    files: WeightFiles,
    *,
    device: torch.device,
    dtype: torch.dtype,
    what: str,
    beside: Beside = nothing_beside,
) -> VLAModel:
    """A model with a file's weights.

    Raises:
        ValueError: keys that are missing, unknown or of wrong shape or dtype. RuntimeError: too little memory.
    """
    model = empty_model(config)
    rules, keys = key_rules(config), native_shapes(config)
    plan_model(model, files, rules, what, keys)  # before memory: wrong sizes are no lack of it
    require_memory(needed_bytes(model, dtype), device, what=what, beside=beside(config, dtype))

    def chosen(parameter: str) -> torch.dtype:
        return torch.float32 if parameter.startswith("head.") else dtype

    fill_parameters(model, files, rules, device=device, dtype=chosen, what=what, published=keys)
    return model


def key_rules(config: VLAConfig) -> list[KeyRule]:
    """Native key -> parameter.

    Ignored: what does not reach the output (vision blocks behind the feature block, final norms, the attention pool,
    the output projection, the embedder of past actions, which the published models do not have), RoPE tables, and the
    moving average of the denoiser's weights, which the published policy does not use.
    """
    rules = [
        KeyRule(r"model\.ema_diffusion\..*", None),
        KeyRule(r"model\.projector\.projector\.0\.(weight|bias)", r"vision.projector.fc1.\1"),
        KeyRule(r"model\.projector\.projector\.2\.(weight|bias)", r"vision.projector.fc2.\1"),
        KeyRule(r"model\.projector\.projector\.4\.(weight|bias)", r"vision.projector.fc3.\1"),
        KeyRule(r"model\.llm_backbone\.llm\..*rotary_emb\.inv_freq", None),
        KeyRule(r"model\.llm_backbone\.llm\.lm_head\.weight", None),
        KeyRule(r"model\.llm_backbone\.llm\.model\.embed_tokens\.weight", "embed.weight"),
        KeyRule(r"model\.llm_backbone\.llm\.model\.norm\.weight", "decoder.norm.weight"),
        *layer_rules(r"model\.llm_backbone\.llm\.model\."),
        KeyRule(r"model\.action_model\.net\.history_embedder\..*", None),
        KeyRule(r"model\.action_model\.(net\..*)", r"head.\1"),
    ]
    for index, name in enumerate(("dino", "siglip")):
        old, tower = rf"model\.vision_backbone\.{name}_featurizer\.", config.towers[index]
        unused = "|".join(str(block) for block in range(tower.feature_block + 1, tower.depth))
        rules.append(KeyRule(rf"{old}(?:blocks\.(?:{unused})|norm|attn_pool)\..*", None, published_only=True))
        rules.append(KeyRule(rf"{old}(.*)", rf"vision.towers.{index}.vit.\1"))
    return rules


def weight_file(folder: Path) -> Path:
    """The one ``.pt`` file.

    Raises:
        FileNotFoundError: there is none. ValueError: there are several.
    """
    files = sorted((folder / "checkpoints").glob("*.pt"))
    if not files:
        raise FileNotFoundError(f"checkpoint: expected one checkpoints/*.pt in {folder}; there is none")
    if len(files) > 1:
        raise ValueError(f"{folder.name}: expected exactly one .pt in checkpoints/, got {[f.name for f in files]}")
    return files[0]


def stated_sizes(folder: Path, sizes: Path | None) -> CogACTSizes | None:
    """What ``sizes``, or else the folder's ``sizes.json``, says; None without either."""
    if sizes is None and not (folder / SIZES_FILE).is_file():
        return None
    return read_sizes(folder / SIZES_FILE if sizes is None else sizes)


def find_sizes(folder: Path, files: WeightFiles) -> CogACTSizes:
    """The published model that the weights belong to.

    Raises:
        ValueError: weights of another architecture.
    """
    if _POSITIONS not in files.tensors:
        raise ValueError(f"{folder.name}: expected the key {_POSITIONS!r} of CogACT's denoiser; it is not there")
    return sizes_of_weights(files.tensors[_POSITIONS].shape)


def _check_base_vlm(folder: Path) -> None:
    vla = read_json(folder / "config.json").get("vla")
    base = vla.get("base_vlm") if isinstance(vla, Mapping) else None
    if base != BASE_VLM:
        raise ValueError(f"{folder.name}: expected a CogACT config.json with vla.base_vlm {BASE_VLM!r}, got {base!r}")
