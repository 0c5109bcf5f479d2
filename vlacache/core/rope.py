"""Rotary position embedding, rotate-halves layout (Su et al. 2021, as in Llama)."""

from __future__ import annotations

import torch
from torch import Tensor


def rope_table(length: int, head_dim: int, theta: float, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """cos and sin, float32[length, head_dim], for the rotate-halves layout (second half repeats the first)."""
    frequency = theta ** (-torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(length, device=device, dtype=torch.float32), frequency)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def quarter_turn(x: Tensor) -> Tensor:
    """Each pair (first half, second half) turned by 90 degrees: [..., D] -> same."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply RoPE: x [..., n, h, D], cos and sin [n, 1, D] (or anything else that broadcasts)."""
    return x * cos + quarter_turn(x) * sin


def rotate_(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """``rotate`` in place, to the same bits: what lies beside ``x`` stays beside it, so that one launch stores both."""
    return torch.add(x * cos, quarter_turn(x) * sin, out=x)
