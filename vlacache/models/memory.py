"""Whether a device can hold a model: asked before the first byte is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from vlacache.models.config import VLAConfig

#: Beside the weights: K/V, activations and the libraries' own buffers at batch 1.
OVERHEAD = 1.1


#: What a caller is going to hold beside the weights: in words -> bytes, from a model's sizes and dtype.
Beside = Callable[[VLAConfig, torch.dtype], Mapping[str, int]]


def nothing_beside(config: VLAConfig, dtype: torch.dtype) -> Mapping[str, int]:
    """One or two arms fit into the 10 %."""
    return {}


def require_memory(
    weight_bytes: int, device: torch.device, *, what: str, beside: Mapping[str, int] | None = None
) -> None:
    """Raise when the device has too little free memory for a model.

    Args:
        beside: what else it must hold, in words -> bytes.

    Raises:
        RuntimeError: names the free and the needed memory.
    """
    free, more = free_memory(device), {} if beside is None else beside
    needed = int(weight_bytes * OVERHEAD) + sum(more.values())
    if free is not None and free < needed:
        parts = ["weights and 10 %", *(f"{size / 2**30:.1f} GiB for {words}" for words, size in more.items())]
        raise RuntimeError(
            f"{what}: expected {needed / 2**30:.1f} GiB of free memory on {device} ({', '.join(parts)}), got "
            f"{free / 2**30:.1f} GiB; use model.dtype=bfloat16, another device, or end what else runs there"
        )


def free_memory(device: torch.device) -> int | None:
    """Free bytes of a GPU, available bytes of the host; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if device.type != "cpu" or not meminfo.is_file():
        return None
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None
