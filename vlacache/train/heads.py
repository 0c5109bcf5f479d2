"""The auxiliary heads of a run, kept beside its checkpoints so that the next run can go on with them.

A checkpoint has no place for them: nothing reads them at inference. But fresh ones disturb a trained trunk for
thousands of samples, until they have learnt again where things are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from vlacache.train.targets import TrainNet

HEADS_FILE = "heads.safetensors"


def save_heads(net: TrainNet, aux_names: Sequence[str], folder: Path) -> None:
    """Write ``heads.safetensors`` into the folder of a run: float32, and the names of the auxiliary targets."""
    save_file(_heads(net), folder / HEADS_FILE, {"aux_names": json.dumps(list(aux_names))})


def heads_beside(checkpoint: Path) -> Path | None:
    """The heads of the run that a checkpoint folder belongs to, if they were kept."""
    file = checkpoint.parent / HEADS_FILE
    return file if file.is_file() else None


def load_heads(net: TrainNet, aux_names: Sequence[str], file: Path) -> None:
    """Fill the heads that have the same place in both runs; heads of other auxiliary targets are left as they are."""
    with safe_open(file, "pt") as stored:
        same_targets = json.loads(stored.metadata()["aux_names"]) == list(aux_names)
        for name, tensor in _heads(net).items():
            if name in stored.keys() and (same_targets or name.startswith("median.")):  # noqa: SIM118 - no dict
                tensor.copy_(stored.get_tensor(name))


def _heads(net: TrainNet) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in net.state_dict().items() if not name.startswith("model.")}
