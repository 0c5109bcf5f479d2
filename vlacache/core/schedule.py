"""How much to reuse at each layer, from how concentrated the attention of the last call was."""

from __future__ import annotations

import torch
from torch import Tensor


def row_entropies(attention: Tensor) -> Tensor:
    """Entropy of each head-mean attention row, in nats (official code: rows re-normalised, eps 1e-10).

    Args:
        attention: float32[..., H, R, N].

    Returns:
        float32[..., R].
    """
    mean = attention.mean(dim=-3)
    mean = mean / (mean.sum(dim=-1, keepdim=True) + 1e-10)
    return -(mean * torch.log(mean + 1e-10)).sum(dim=-1)


def minmax_growth(entropies: Tensor, growth: float) -> Tensor:
    """The released code's schedule: ``1 - minmax(entropy)``, upward steps damped by ``growth``.

    Args:
        entropies: float32[L], all finite.

    Returns:
        float32[L] in [0, 1]; not monotone (the caller takes a running maximum of the counts).
    """
    low, high = entropies.min(), entropies.max()
    ratios = 1.0 - (entropies - low) / (high - low + 1e-10)
    damped: list[float] = []
    for ratio in ratios.tolist():
        previous = damped[-1] if damped else ratio
        damped.append(previous + growth * (ratio - previous) if ratio > previous else ratio)
    return torch.tensor(damped, dtype=entropies.dtype)


def cumulative_relative_drop(entropies: Tensor, scale: float) -> Tensor:
    """The paper's schedule: ``min(scale * sum_j (E[j-1] - E[j]) / E[j-1], 1)``, clipped below at 0.

    Layer 0 has no predecessor and gets 0. A running maximum makes it monotone: a token that left the residual stream
    cannot come back when the sum falls again.

    Returns:
        float32[L] in [0, 1], non-decreasing.
    """
    before, after = entropies[:-1], entropies[1:]
    drops = (before - after) / before.clamp_min(1e-10)
    total = torch.cat([entropies.new_zeros(1), torch.cumsum(drops, dim=0)])
    return torch.cummax((scale * total).clamp(0.0, 1.0), dim=0).values


def concentration(entropies: Tensor, num_keys: int, base: float, gain: float) -> Tensor:
    """Our schedule: ``base + gain * (1 - E / log N)``, clipped to [0, 1], running maximum.

    ``1 - E / log N`` is 0 for uniform attention and 1 for attention on a single token: an absolute measure, so that
    a model whose layers all look alike gets one share instead of amplified noise (what a min-max over layers gives).

    Args:
        entropies: float32[L] in nats. num_keys: N.

    Returns:
        float32[L], non-decreasing.
    """
    focus = 1.0 - entropies / torch.log(torch.tensor(float(max(num_keys, 2))))
    return torch.cummax((base + gain * focus).clamp(0.0, 1.0), dim=0).values
