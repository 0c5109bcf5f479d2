"""Storage by position."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vlacache.core.kv_cache import KVCache


@pytest.fixture
def cache() -> KVCache:
    return KVCache(2, 3, 8, 4, dtype=torch.float32, device=torch.device("cpu"))


def pair(num_rows: int, k: float, v: float) -> Tensor:
    """Keys and values of some rows, [n, 2, H, D]."""
    return torch.tensor([k, v])[:, None, None].expand(num_rows, 2, 3, 4)


def test_writes_by_position_touch_nothing_else(cache: KVCache) -> None:
    cache.write(1, None, pair(8, 1.0, 2.0))
    cache.write(1, torch.tensor([0, 5]), pair(2, 7.0, 8.0))
    k, v = cache.read(1, 8)
    assert k[0, :, 0].tolist() == [7, 1, 1, 1, 1, 7, 1, 1]
    assert v[2, :, 3].tolist() == [8, 2, 2, 2, 2, 8, 2, 2]
    assert not cache.k[0].any()


def test_decoded_tokens_go_behind_the_prompt(cache: KVCache) -> None:
    cache.write(0, None, pair(1, 1.0, 1.0), start=6)
    assert cache.read(0, 7)[0][0, :, 0].tolist() == [0, 0, 0, 0, 0, 0, 1]


def test_too_long_is_refused(cache: KVCache) -> None:
    with pytest.raises(ValueError, match="at most 8 positions, got 9"):
        cache.write(0, None, pair(2, 1.0, 1.0), start=7)


def test_clone_is_independent(cache: KVCache) -> None:
    twin = cache.clone()
    cache.write(0, None, pair(8, 1.0, 1.0))
    assert not twin.k.any() and twin.capacity == 8
