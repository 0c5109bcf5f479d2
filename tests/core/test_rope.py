"""RoPE in place is RoPE, to the bit, and touches nothing beside."""

from __future__ import annotations

import pytest
import torch

from vlacache.core.rope import rope_table, rotate, rotate_


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_place_gives_the_same_bits_and_leaves_the_neighbours(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    qkv = torch.randn(7, 3, 2, 8, generator=generator).to(dtype)
    cos, sin = (table[:, None, None].to(dtype) for table in rope_table(7, 8, 10000.0))
    before = qkv.clone()
    rotate_(qkv[:, :2], cos, sin)
    assert torch.equal(qkv[:, :2], rotate(before[:, :2], cos, sin))
    assert torch.equal(qkv[:, 2], before[:, 2])
