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
    """Output projection over the vocabulary.

    The last ``num_bins`` ids before the padding are action bins, highest id = lowest value.
    """

    def __init__(self, hidden_size: int, vocab_size: int, num_bins: int, vocab_padding: int = 0) -> None:
        super().__init__()
        self.proj = nn.Linear(hidden_size, vocab_size, bias=False)
        self.num_bins = num_bins
        self.num_tokens = vocab_size - vocab_padding

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., D] -> logits [..., vocab]."""
        return self.proj(hidden)

    def first_bin(self) -> int:
        """Lowest id that is an action bin."""
        return self.num_tokens - self.num_bins


def bin_centres(num_bins: int) -> NDArray[np.float64]:
    """float64[num_bins - 1]: centres between ``linspace(-1, 1, num_bins)`` edges (OpenVLA)."""
    edges = np.linspace(-1.0, 1.0, num_bins)
    return (edges[:-1] + edges[1:]) / 2.0


def detokenize(token_ids: NDArray[np.integer], num_tokens: int, num_bins: int) -> NDArray[np.float64]:
    """Action token ids -> values in [-1, 1].

    ``index = clip(num_tokens - id - 1, 0, num_bins - 2)`` into the bin centres: there are 256 ids and 255 centres, so
    the two lowest ids share the last one (OpenVLA). ``num_tokens`` is the vocabulary without its padding.
    """
    index = np.clip(num_tokens - np.asarray(token_ids) - 1, 0, num_bins - 2)
    return bin_centres(num_bins)[index]


def count_foreign(token_ids: NDArray[np.integer], num_tokens: int, num_bins: int) -> int:
    """How many ids are no action bins; ``detokenize`` takes each for an extreme action, as the published code does."""
    ids = np.asarray(token_ids)
    return int(np.count_nonzero((ids < num_tokens - num_bins) | (ids >= num_tokens)))


def unnormalize(
    actions: NDArray[np.floating],
    low: tuple[float, ...],
    high: tuple[float, ...],
    mask: tuple[bool, ...] = (),
    epsilon: float = 0.0,
) -> NDArray[np.float64]:
    """[-1, 1] -> [low, high] per dimension; dimensions outside ``mask`` stay as they are.

    Args:
        actions: [..., dim]. mask: empty for all. epsilon: added to the range (OFT: 1e-8, OpenVLA: none).
    """
    # The sum keeps the dtype of the actions, as in the published code: float32 from a regression or diffusion head.
    values, lower, upper = np.asarray(actions), np.asarray(low), np.asarray(high)
    scaled = 0.5 * (values + 1.0) * (upper - lower + epsilon) + lower
    return np.where(mask, scaled, values) if mask else scaled


def normalize(values: Tensor, low: tuple[float, ...], high: tuple[float, ...], mask: tuple[bool, ...] = ()) -> Tensor:
    """[low, high] -> [-1, 1] per dimension, clipped (OFT's proprio rule); float32, or float64 where that comes in.

    Dimensions outside ``mask`` (empty for all) are only clipped.
    """
    values = values if values.dtype == torch.float64 else values.float()
    lower, upper = (torch.tensor(bound, dtype=values.dtype, device=values.device) for bound in (low, high))
    scaled = 2.0 * (values - lower) / (upper - lower + 1e-8) - 1.0
    if mask:
        scaled = torch.where(torch.tensor(mask, device=values.device), scaled, values)
    return scaled.clamp(-1.0, 1.0)


def gripper_to_robosuite(opening: NDArray[np.floating]) -> NDArray[np.float64]:
    """A gripper command, 0 = close and 1 = open, in robosuite's sign, -1 = open and +1 = close.

    The formula of the OpenVLA and OFT scripts, ``-sign(2 g - 1)``; an exact 0.5 becomes 0, which robosuite reads as
    "keep the gripper where it is".
    """
    return -np.sign(2.0 * np.asarray(opening, dtype=np.float64) - 1.0) + 0.0  # + 0.0: no negative zero
