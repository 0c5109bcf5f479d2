"""The state of a run on disk: written atomically, so that a kill leaves the old state or the new one."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlacache.folders import sync_path

STATE_FILE = "state.pt"


@dataclass(slots=True)
class TrainState:
    """Everything that an update changes. Random numbers are functions of seed and ``step``, so there is no generator.

    Attributes:
        step: updates done. weights, ema, moments: by parameter name; moments hold the optimiser's running averages.
        last_eval: update after which the last closed-loop evaluation ran, or -1. best: its success so far, or None.
        best_step: update of ``best``. facts: identity of run and demos, and ``validation``, what the best was
            chosen on; compared when a run is continued.
    """

    step: int
    weights: dict[str, Tensor]
    ema: dict[str, Tensor]
    moments: dict[str, dict[str, Tensor]]
    last_eval: int
    best: float | None
    best_step: int
    facts: dict[str, Any]


def save_state(state: TrainState, folder: Path) -> None:
    """Write ``state.pt``: temporary file, fsync, rename, fsync of the folder."""
    target = folder / STATE_FILE
    temporary = target.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save({name: getattr(state, name) for name in TrainState.__slots__}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, target)
    sync_path(folder)


def load_state(folder: Path) -> TrainState | None:
    """The stored state on the CPU, or None when the run has none yet.

    Raises:
        ValueError: the file is damaged or of another version.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        return TrainState(**values)
    except (RuntimeError, TypeError, pickle.UnpicklingError, EOFError) as error:
        raise ValueError(
            f"{path.name}: expected a state of a training run, got: {error}; delete it to start over"
        ) from error
