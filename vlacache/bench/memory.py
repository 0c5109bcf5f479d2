"""What the latency ladder holds on the device beside the weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from vlacache.models.config import VLAConfig
from vlacache.models.memory import Beside

#: Text ids, proprio, stop token, sink and decoded tokens of a prompt, rounded up.
_OTHER_TOKENS = 80


def ladder_memory(num_arms: int, *, has_maps: bool) -> Beside:
    """K/V of every arm, for they take turns and each keeps its own, and the attention maps of ``eager+attentions``.

    Args:
        has_maps: that rung is among them. It keeps the maps of all layers until its next call.
    """

    def beside(config: VLAConfig, dtype: torch.dtype) -> Mapping[str, int]:
        shape = config.decoder.shape
        num_action = config.num_action_tokens if config.head == "l1_chunk" else 0
        num_tokens = len(config.views) * config.grid[0] * config.grid[1] + num_action + _OTHER_TOKENS
        kv = 2 * shape.num_layers * shape.hidden_size * num_tokens * dtype.itemsize
        held = {f"K/V of {num_arms} arms": num_arms * kv}
        if has_maps:
            held["attention maps"] = shape.num_layers * shape.num_heads * num_tokens**2 * dtype.itemsize
        return held

    return beside
