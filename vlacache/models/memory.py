"""Whether a device can hold a model: asked before the first byte is read."""

from __future__ import annotations

from pathlib import Path

import torch

#: Beside the weights: K/V, activations and the libraries' own buffers at batch 1.
OVERHEAD = 1.1


def require_memory(weight_bytes: int, device: torch.device, *, what: str) -> None:
    """Raise when the device has too little free memory for a model.

    Raises:
        RuntimeError: names the free and the needed memory.
    """
    free = free_memory(device)
    needed = int(weight_bytes * OVERHEAD)
    if free is not None and free < needed:
        raise RuntimeError(
            f"{what}: expected {needed / 2**30:.1f} GiB of free memory on {device} (weights and 10 %), got "
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
