"""From hidden states to actions: OFT's parallel L1 head and OpenVLA's 256-bin tokens."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """x + relu(fc(norm(x))), OFT's MLPResNet block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> same."""
        return x + F.relu(self.fc(self.norm(x)))


class L1ChunkHead(nn.Module):
    """Regresses a whole chunk from the hidden states of its placeholder window (OpenVLA-OFT)."""

    def __init__(self, hidden_size: int, chunk_length: int, action_dim: int, num_blocks: int = 2) -> None:
        super().__init__()
        self.chunk_length, self.action_dim = chunk_length, action_dim
        self.norm1 = nn.LayerNorm(hidden_size * action_dim)
        self.fc1 = nn.Linear(hidden_size * action_dim, hidden_size)
        self.blocks = nn.Sequential(*(ResidualBlock(hidden_size) for _ in range(num_blocks)))
        self.norm2 = nn.LayerNorm(hidden_size)
        self.fc2 = nn.Linear(hidden_size, action_dim)

    def forward(self, window: Tensor) -> Tensor:
        """Window [..., T * dim, D] -> normalised actions [..., T, dim]."""
        x = window.reshape(*window.shape[:-2], self.chunk_length, -1)
        return self.fc2(self.norm2(self.blocks(F.relu(self.fc1(self.norm1(x))))))

    def macs(self) -> int:
        """MACs of one chunk."""
        matrices = [m.weight.numel() for m in self.modules() if isinstance(m, nn.Linear)]
        return self.chunk_length * sum(matrices)


class TokenBinHead(nn.Module):
    """Output projection over the vocabulary; the last ``num_bins`` ids are action bins, highest id = lowest value."""

    def __init__(self, hidden_size: int, vocab_size: int, num_bins: int) -> None:
        super().__init__()
        self.proj = nn.Linear(hidden_size, vocab_size, bias=False)
        self.num_bins = num_bins

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., D] -> logits [..., vocab]."""
        return self.proj(hidden)

    def first_bin(self) -> int:
        """Lowest id that is an action bin."""
        return self.proj.out_features - self.num_bins


def bin_centres(num_bins: int) -> NDArray[np.float64]:
    """float64[num_bins - 1]: centres between ``linspace(-1, 1, num_bins)`` edges (OpenVLA)."""
    edges = np.linspace(-1.0, 1.0, num_bins)
    return (edges[:-1] + edges[1:]) / 2.0


def detokenize(token_ids: NDArray[np.integer], vocab_size: int, num_bins: int) -> NDArray[np.float64]:
    """Action token ids -> values in [-1, 1].

    ``index = clip(vocab_size - id - 1, 0, num_bins - 2)`` into the bin centres: there are 256 ids and 255 centres, so
    the two lowest ids share the last one (OpenVLA).
    """
    index = np.clip(vocab_size - np.asarray(token_ids) - 1, 0, num_bins - 2)
    return bin_centres(num_bins)[index]


def unnormalize(actions: NDArray[np.floating], low: tuple[float, ...], high: tuple[float, ...]) -> NDArray[np.float32]:
    """[-1, 1] -> [low, high] per dimension, float32."""
    lower, upper = np.asarray(low), np.asarray(high)
    return (0.5 * (np.asarray(actions, np.float64) + 1.0) * (upper - lower) + lower).astype(np.float32)


def normalize(values: Tensor, low: tuple[float, ...], high: tuple[float, ...]) -> Tensor:
    """[low, high] -> [-1, 1] per dimension, clipped (OFT's proprio rule)."""
    lower, upper = (torch.tensor(bound, dtype=torch.float32, device=values.device) for bound in (low, high))
    return (2.0 * (values.float() - lower) / (upper - lower + 1e-8) - 1.0).clamp(-1.0, 1.0)
