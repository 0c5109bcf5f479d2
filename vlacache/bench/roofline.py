"""How fast a call could be on this device: measured copy bandwidth and GEMM rate, MACs and bytes of every stage.

The model. A stage takes at least ``max(MACs / GEMM rate, bytes / bandwidth)``, as if arithmetic and traffic overlapped
perfectly and nothing else cost time; stages follow one another, so the floor of a call is the sum over vision,
prefill, decode and head. Preprocessing, deciding and postprocessing have no floor (0): whatever they cost is distance.
Bytes are those that must move: every weight once per pass through it, K/V written for computed rows and read once per
layer for all. Activations are taken to stay on the chip. Both rates are measured here, in the same process, on square
GEMMs and copies far larger than any cache, so the floor is what this device does, not what its data sheet says.
Where all weights fit into a cache (the tiny models on a CPU), a stage may come below its floor of bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from vlacache.core.flops import decode_macs
from vlacache.models.cogact.head import DiffusionHead
from vlacache.models.heads import TokenBinHead
from vlacache.models.prismatic import VLAModel
from vlacache.types import InferenceStats

#: The stages that have a floor.
FLOOR_STAGES = ("vision", "prefill", "decode", "action_head")
#: Bytes of the copied buffer and side of the multiplied matrices, by device type.
COPY_BYTES = {"cuda": 1 << 30, "cpu": 1 << 27}
GEMM_SIDE = {"cuda": 8192, "cpu": 1024}


@dataclass(frozen=True, slots=True)
class DeviceRates:
    """What the device was measured to do.

    Attributes:
        bytes_per_s: read plus written by a copy. macs_per_s: by dtype name, of a square GEMM.
    """

    bytes_per_s: float
    macs_per_s: dict[str, float]


@dataclass(frozen=True, slots=True)
class StageCost:
    """Work of one stage. ``dtype`` names the rate that its products run at."""

    macs: float
    bytes: float
    dtype: str

    def floor_ms(self, rates: DeviceRates) -> float:
        """The least time it can take."""
        return max(self.macs / rates.macs_per_s[self.dtype], self.bytes / rates.bytes_per_s) * 1e3


def measure_rates(model: VLAModel, *, repeats: int = 10) -> DeviceRates:
    """Best of ``repeats`` copies and of as many GEMMs in every dtype that the model's weights have."""
    device = model.device
    copy_bytes, side = COPY_BYTES[device.type], GEMM_SIDE[device.type]
    source = torch.zeros(copy_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = best_seconds(lambda: target.copy_(source), device, repeats)
    macs = {}
    for dtype in sorted({p.dtype for p in model.parameters()}, key=str):
        a = torch.randn(side, side, device=device).to(dtype)  # constant matrices draw less power and run faster
        out = torch.empty_like(a)
        gemm = best_seconds(lambda a=a, out=out: torch.mm(a, a, out=out), device, repeats)  # type: ignore[misc]
        macs[_name(dtype)] = side**3 / gemm
    return DeviceRates(2 * copy_bytes / seconds, macs)


def best_seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Shortest of ``repeats`` synchronised runs, after two that do not count."""
    times = []
    for index in range(repeats + 2):
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        if index >= 2:
            times.append(time.perf_counter() - start)
    return min(times)


def synchronize(device: torch.device) -> None:
    """Wait for the device; nothing to wait for on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def call_costs(model: VLAModel, stats: InferenceStats, decode_passes: int | None = None) -> dict[str, StageCost]:
    """MACs and bytes of one call, stage by stage.

    Args:
        stats: of the call: tokens, computed rows, MACs of the prefill.
        decode_passes: of the decoder after the prefill; None for one per action token but the first and those that a
            draft saved.
    """
    config, head = model.config, model.head
    dtype, shape = model.dtype, config.decoder.shape
    layers, n = shape.num_layers, stats.num_prompt_tokens
    decoder_bytes = weight_bytes(model.decoder)
    row_bytes = 2 * shape.hidden_size * dtype.itemsize  # one token's K and V in one layer
    vision_out = len(config.views) * config.grid[0] * config.grid[1] * shape.hidden_size * dtype.itemsize
    costs = {
        "vision": StageCost(
            model.vision.macs(len(config.views)), weight_bytes(model.vision) + vision_out, _name(dtype)
        ),
        "prefill": StageCost(
            stats.prefill_macs,
            decoder_bytes + layers * row_bytes * (n + stats.recomputed_tokens_mean),
            _name(dtype),
        ),
        "decode": StageCost(0, 0, _name(dtype)),
        "action_head": StageCost(0, 0, _name(dtype)),
    }
    if isinstance(head, TokenBinHead):
        accepted = stats.accepted_tokens or 0
        passes = config.num_action_tokens - 1 - accepted if decode_passes is None else decode_passes
        first = head.proj.weight.numel()
        macs = first + sum(decode_macs(shape, n + step + 1, config.decoder.vocab_size) for step in range(passes))
        kv = sum(layers * row_bytes * (n + step + 2) for step in range(passes))  # reads n + step + 1, writes 1
        num_bytes = (passes + 1) * weight_bytes(head) + passes * decoder_bytes + kv
        costs["decode"] = StageCost(macs, num_bytes, _name(dtype))
    else:
        steps = len(head.schedule.timesteps) if isinstance(head, DiffusionHead) else 1
        own = _name(next(head.parameters()).dtype)
        costs["action_head"] = StageCost(head.macs(), steps * weight_bytes(head), own)
    return costs


def floor_ms(costs: Mapping[str, StageCost], rates: DeviceRates) -> dict[str, float]:
    """Floor of every stage and their sum as ``total``."""
    floors = {stage: cost.floor_ms(rates) for stage, cost in costs.items()}
    return {**floors, "total": sum(floors.values())}


def weight_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters."""
    return sum(p.numel() * p.element_size() for p in module.parameters())


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
