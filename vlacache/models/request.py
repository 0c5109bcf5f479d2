"""What a run may ask of a model, checked before anything is loaded."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import torch

from vlacache.models.runtime import RUNTIMES
from vlacache.models.tiny import TINY_MODELS

#: Models that exist as published checkpoints only.
PUBLISHED_MODELS = ("openvla", "openvla_oft", "cogact")
#: Models that answer in tokens, so that there is something to draft.
TOKEN_MODELS = ("openvla", "tiny_openvla")
DECODE_MODES = ("plain", "speculative")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What a run asks for.

    Attributes:
        name: ``tiny_oft``, ``tiny_openvla``, ``openvla``, ``openvla_oft`` or ``cogact``.
        checkpoint: folder with config.json and model.safetensors, ``builtin`` for the one that ships with the package,
            or None for seeded, untrained weights. Published models: folder or hub id, required.
        revision: commit of a hub id (not for local folders).
        unnorm_key: data set, or suite, whose statistics scale the actions of a published checkpoint.
        input_ids: prompt ids in place of the text's, for a published checkpoint without tokenizer.
        sizes: JSON file with what a published checkpoint's own files do not say, for towers that timm has no name for:
            OpenVLA's ``towers.json``, CogACT's ``sizes.json``. None: the folder's, where it has one.
        dtype: ``auto`` (bfloat16 on CUDA and on CPUs with instructions for it), ``float32`` or ``bfloat16``.
        decode: ``plain``, or ``speculative`` (the last call's tokens as draft; models with action tokens only).
        runtime: ``eager``, ``graphs`` (CUDA graphs of fixed shape) or ``auto`` (graphs on CUDA).
        num_open_loop_steps: executed actions of a chunk; None for all.
        seed: of untrained weights. device: torch device.
    """

    name: str
    checkpoint: str | None = None
    revision: str | None = None
    dtype: str = "auto"
    decode: str = "plain"
    num_open_loop_steps: int | None = None
    seed: int = 0
    device: str = "cpu"
    unnorm_key: str | None = None
    input_ids: tuple[int, ...] | None = None
    sizes: str | None = None
    runtime: str = "auto"

    @property
    def sizes_file(self) -> Path | None:
        """``sizes`` as a path."""
        return None if self.sizes is None else Path(self.sizes).expanduser()


def check_request(config: ModelConfig) -> None:
    """Raise ``ValueError`` for a name, dtype, decode mode or runtime that does not exist or does not fit."""
    names = [*TINY_MODELS, *PUBLISHED_MODELS]
    if config.name not in names:
        close = difflib.get_close_matches(config.name, names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"model: expected one of {sorted(names)}, got {config.name!r}{hint}")
    if config.dtype != "auto" and config.dtype not in DTYPES:
        raise ValueError(f"model.dtype: expected 'auto' or one of {sorted(DTYPES)}, got {config.dtype!r}")
    check_calls(config)
    if config.name in PUBLISHED_MODELS:
        if config.checkpoint is None:
            raise ValueError(
                f"model.checkpoint: {config.name} needs its published weights; give a folder, or a hub id with "
                "model.revision (there is no untrained variant; model=tiny_oft and model=tiny_openvla need none)"
            )
        return
    for key in ("revision", "unnorm_key", "input_ids", "sizes"):
        if getattr(config, key) is not None:
            raise ValueError(f"model.{key}: only for published checkpoints, {config.name} has none; leave it null")


def check_calls(config: ModelConfig) -> None:
    """How calls are run: what the model has to offer, and the device.

    Raises:
        ValueError: a decode mode, runtime or number of steps that does not exist or does not fit.
    """
    steps = config.num_open_loop_steps
    if steps is not None and (not isinstance(steps, int) or isinstance(steps, bool) or steps < 1):
        raise ValueError(f"model.num_open_loop_steps: expected a whole number of at least 1, got {steps!r}")
    if config.decode not in DECODE_MODES:
        raise ValueError(f"model.decode: expected one of {DECODE_MODES}, got {config.decode!r}")
    if config.decode == "speculative" and config.name not in TOKEN_MODELS:
        raise ValueError(
            f"model.decode=speculative: drafts action tokens, and {config.name} has none (its head answers in one "
            f"pass); use model.decode=plain, or one of {TOKEN_MODELS}"
        )
    if config.runtime not in RUNTIMES:
        raise ValueError(f"model.runtime: expected one of {RUNTIMES}, got {config.runtime!r}")
    if config.runtime == "graphs" and torch.device(config.device).type != "cuda":
        raise ValueError(f"model.runtime=graphs: needs a CUDA device, got {config.device}; use model.runtime=auto")
