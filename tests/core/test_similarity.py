"""Patches that stayed the same."""

from __future__ import annotations

import pytest
import torch

from vlacache.core.similarity import cosine_similarity, dice_similarity, patchify


def test_patchify_orders_views_rows_columns() -> None:
    frames = torch.zeros(2, 3, 8, 8)
    frames[1, :, 4:, :4] = 7.0  # second view, lower left of a 2x2 grid
    patches = patchify(frames, (2, 2))
    assert patches.shape == (8, 48)
    assert patches.sum(dim=1).nonzero().flatten().tolist() == [4 + 2]


def test_patchify_refuses_a_size_that_does_not_divide() -> None:
    with pytest.raises(ValueError, match="divisible by the grid"):
        patchify(torch.zeros(1, 3, 9, 8), (2, 2))


def test_cosine_matches_the_naive_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (255 * torch.rand(20, 588, generator=generator) for _ in range(2))
    naive = torch.stack([(x @ y) / (x.norm() * y.norm() + 1e-8) for x, y in zip(a.double(), b.double(), strict=True)])
    assert torch.allclose(cosine_similarity(a, b).double(), naive, atol=1e-6)


def test_cosine_is_blind_to_brightness_and_dice_is_not() -> None:
    a = 20 + 200 * torch.rand(5, 588, generator=torch.Generator().manual_seed(1))
    darker = 0.8 * a
    assert torch.all(cosine_similarity(a, darker) > 0.9999)
    assert torch.all(dice_similarity(a, darker) < 0.98)


def test_equal_patches_are_exactly_one_under_dice_also_when_black() -> None:
    a = torch.cat([torch.zeros(1, 588), 255 * torch.rand(3, 588)])
    assert dice_similarity(a, a.clone()).tolist() == [1.0] * 4


def test_dice_never_exceeds_cosine() -> None:
    generator = torch.Generator().manual_seed(2)
    a = 255 * torch.rand(200, 48, generator=generator)
    b = (a + 30 * torch.randn(200, 48, generator=generator)).clamp(0, 255)
    assert torch.all(dice_similarity(a, b) <= cosine_similarity(a, b) + 1e-6)
