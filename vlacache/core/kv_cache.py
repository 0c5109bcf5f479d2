"""Preallocated key/value storage, written by position."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class KVCache:
    """Keys and values of one prompt (and the tokens decoded after it), batch 1.

    Args:
        storage: [2, M] memory to use, M at least L * H * C * D, so that prompts of different length share addresses
            that a captured graph knows; None for new memory, zeroed.

    Attributes:
        both: [2, L, H, C, D] keys and values; slot = prompt position.
        k, v: [L, H, C, D] its two halves.
    """

    def __init__(
        self,
        num_layers: int,
        num_heads: int,
        capacity: int,
        head_dim: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
        storage: Tensor | None = None,
    ) -> None:
        shape = (num_layers, num_heads, capacity, head_dim)
        if storage is None:
            storage = torch.zeros(2, math.prod(shape), dtype=dtype, device=device)
        self._take(storage[:, : math.prod(shape)].view(2, *shape))

    def _take(self, both: Tensor) -> None:
        self.both = both
        self.k, self.v = both.unbind()

    @property
    def capacity(self) -> int:
        """Number of slots C."""
        return self.k.shape[2]

    def write(self, layer: int, rows: Tensor | None, kv: Tensor, *, start: int = 0) -> None:
        """Store K/V of some positions of one layer, both in one launch.

        Args:
            rows: int64[n] positions, or None for ``start .. start + n - 1``.
            kv: [n, 2, H, D] keys and values, as a projection gives them.

        Raises:
            ValueError: more positions than the cache holds.
        """
        kv = kv.permute(1, 2, 0, 3)
        if rows is None:
            stop = start + kv.shape[2]
            if stop > self.capacity:
                raise ValueError(
                    f"KVCache: expected at most {self.capacity} positions, got {stop}; allocate a larger one"
                )
            self.both[:, layer, :, start:stop] = kv
        else:
            self.both[:, layer].index_copy_(2, rows, kv)

    def read(self, layer: int, length: int) -> tuple[Tensor, Tensor]:
        """Views of the first ``length`` slots of one layer, each [H, length, D]."""
        return self.k[layer, :, :length], self.v[layer, :, :length]

    def clone(self) -> KVCache:
        """An independent copy."""
        twin = object.__new__(KVCache)
        twin._take(self.both.clone())
        return twin
