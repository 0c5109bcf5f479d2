"""Both ways of attending give softmax attention; the products are taken where they are meant to be."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vlacache.core.attention import attend, needs_products


def exact(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None) -> Tensor:
    """float64, by the formula."""
    scores = q.double() @ k.double().transpose(1, 2) / math.sqrt(q.shape[-1])
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf)
    return (scores.softmax(-1) @ v.double()).transpose(0, 1).flatten(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["full", 1, 2, 8, 9, "mask", "additive", "causal"])
@pytest.mark.parametrize("num_keys", [40, 300])
def test_attention_is_the_formula(dtype: torch.dtype, kind: str | int, num_keys: int) -> None:
    """A number is one of query rows: few of them go another way than many, and a single one another than two."""
    generator = torch.Generator().manual_seed(num_keys)
    k, v = (torch.randn(4, num_keys, 16, generator=generator).to(dtype) for _ in range(2))
    n = kind if isinstance(kind, int) else num_keys
    q = torch.randn(n, 4, 16, generator=generator).to(dtype).transpose(0, 1)
    allowed = torch.rand(n, num_keys, generator=generator) < 0.5
    allowed[:, 0] = True
    added = torch.zeros(n, num_keys + 8, dtype=dtype)[:, :num_keys].masked_fill_(~allowed, -math.inf)
    triangle = torch.ones(n, num_keys, dtype=torch.bool).tril()
    mask, seen = {"mask": (allowed, allowed), "additive": (added, allowed), "causal": (None, triangle)}.get(
        kind, (None, None)
    )
    found = attend(q, k, v, mask, is_causal=kind == "causal")
    assert found.dtype == dtype and found.shape == (n, 64)
    error = (found.double() - exact(q, k, v, seen)).abs()
    assert error.max() < (1e-5 if dtype == torch.float32 else 0.03)
    assert error.mean() < (1e-6 if dtype == torch.float32 else 2e-3)


@pytest.mark.parametrize("size", [12.0, 3000.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_scores_of_any_size_give_the_formula(size: float, sign: float) -> None:
    """Up to 4.5e6 either way: powers of two of such scores are infinite or zero in bfloat16, in half of the rows."""
    generator = torch.Generator().manual_seed(int(size))
    k = torch.rand(2, 50, 16, generator=generator).to(torch.bfloat16) * size
    v = torch.randn(2, 50, 16, generator=generator).to(torch.bfloat16)
    q = torch.rand(2, 30, 16, generator=generator).to(torch.bfloat16) * sign
    q[:, 15:] *= size
    found = attend(q, k, v, None, is_causal=False)
    scores = (q @ k.transpose(1, 2)).double() / 4  # rounded to bfloat16, as in eager attention
    assert torch.isfinite(found).all()
    expected = (scores.softmax(-1) @ v.double()).transpose(0, 1).flatten(1)
    assert (found.double() - expected).abs().max() < 0.03


def test_products_are_for_bfloat16_on_a_cpu() -> None:
    assert needs_products(torch.device("cpu"), torch.bfloat16)
    assert not needs_products(torch.device("cpu"), torch.float32)
    assert not needs_products(torch.device("cuda"), torch.bfloat16)


@pytest.mark.parametrize("num_rows", [1, 2, 8, 9])
def test_few_rows_are_masked_like_many(num_rows: int) -> None:
    generator = torch.Generator().manual_seed(num_rows)
    k, v = (torch.randn(4, 60, 16, generator=generator).to(torch.bfloat16) for _ in range(2))
    q = torch.randn(num_rows, 4, 16, generator=generator).to(torch.bfloat16).transpose(0, 1)
    allowed = torch.rand(num_rows, 60, generator=generator) < 0.5
    allowed[:, 0] = True
    found = attend(q, k, v, allowed, is_causal=False)
    assert found.shape == (num_rows, 64)
    assert (found.double() - exact(q, k, v, allowed)).abs().max() < 0.03
