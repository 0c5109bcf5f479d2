"""Trained weights as a checkpoint folder, and the other way round: a new model that begins with another's weights."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlacache.folders import replace_folder, temporary_folder
from vlacache.models.config import VLAConfig
from vlacache.models.factory import TOKENIZER_FILE, load_checkpoint, save_checkpoint
from vlacache.models.prismatic import VLAModel
from vlacache.models.tokenizer import TINY_TOKENIZER
from vlacache.train.config import InitParts

#: A checkpoint in the repository is at most so large.
MAX_BYTES = 14 << 20
FACTS_FILE = "training.json"


def export_checkpoint(model: VLAModel, folder: Path, facts: dict[str, Any]) -> str:
    """Write bfloat16 weights, config, tokenizer and ``training.json`` (``facts`` and the hash of the weights).

    The folder appears whole or not at all; an older one of that name is replaced, see ``vlacache.folders``.

    Returns:
        sha256 of ``model.safetensors``.

    Raises:
        ValueError: larger than 14 MiB.
    """
    temporary = temporary_folder(folder)
    save_checkpoint(model, temporary, torch.bfloat16)
    shutil.copyfile(TINY_TOKENIZER, temporary / TOKENIZER_FILE)
    digest = hashlib.sha256((temporary / "model.safetensors").read_bytes()).hexdigest()
    (temporary / FACTS_FILE).write_text(json.dumps({**facts, "sha256": digest}, indent=2) + "\n")
    size = sum(file.stat().st_size for file in temporary.iterdir())
    if size > MAX_BYTES:
        raise ValueError(f"checkpoint: expected at most {MAX_BYTES} bytes, got {size}")
    replace_folder(temporary, folder)
    return digest


def stages_of(folder: Path) -> list[dict[str, Any]]:
    """Facts of the runs that a checkpoint came from, the first one first, its own last; empty where none are known."""
    file = folder / FACTS_FILE
    if not file.is_file():
        return []
    facts = json.loads(file.read_text())
    earlier = facts.pop("stages", [])
    facts.pop("validation", None)
    return [*earlier, facts]


def start_from(folder: Path, config: VLAConfig, parts: InitParts = "all") -> tuple[VLAConfig, dict[str, Tensor]]:
    """The shared trunk of a checkpoint.

    Args:
        parts: ``vision``: its towers and their projector alone.

    Returns:
        ``config`` with the checkpoint's normalisation, and the tensors that have the same name and shape in both. A
        projector of another state, and its normalisation, stay behind.

    Raises:
        FileNotFoundError: no checkpoint there. ValueError: no tensor fits.
    """
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"init_from: {folder}: expected a checkpoint folder (of vlacache/models/checkpoints, or best/ or last/ "
                f"of a training run), {name} is not there"
            )
    source_config = VLAConfig.from_json(folder / "config.json")
    source = load_checkpoint(folder, source_config.name).state_dict()
    with torch.device("meta"):
        wanted = VLAModel(config).state_dict()
    same_state = all(getattr(source_config, n) == getattr(config, n) for n in ("proprio_dim", "proprio_rotation"))
    shared = {k: v.float() for k, v in source.items() if k in wanted and wanted[k].shape == v.shape}
    needed = "vision." if parts == "vision" else "decoder."
    if not any(name.startswith(needed) for name in shared):
        raise ValueError(
            f"init_from: {folder.name} ({source_config.name}) shares no {needed[:-1]} weights with {config.name}"
        )
    if parts == "vision":
        shared = {k: v for k, v in shared.items() if k.startswith(needed)}
    config = replace(config, action_low=source_config.action_low, action_high=source_config.action_high)
    if config.proprio_dim is not None and same_state:
        config = replace(config, proprio_low=source_config.proprio_low, proprio_high=source_config.proprio_high)
    if not same_state:
        shared = {k: v for k, v in shared.items() if not k.startswith("proprio.")}
    return config, shared
