"""Patches that stayed the same: how alike two frames are, patch by patch, in raw pixels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

SimilarityMeasure = Literal["cosine", "dice"]


def patchify(frames: Tensor, grid: tuple[int, int]) -> Tensor:
    """Cut frames into patches.

    Args:
        frames: [V, C, H, W] raw pixel values (any dtype), as the vision tower will see them.
        grid: patch rows and columns; H and W must be multiples of them.

    Returns:
        float32[V * rows * cols, C * (H/rows) * (W/cols)], views in order, row-major inside a view.

    Raises:
        ValueError: H or W is no multiple of the grid.
    """
    views, channels, height, width = frames.shape
    rows, cols = grid
    if height % rows or width % cols:
        raise ValueError(f"patchify: expected a frame size divisible by the grid {grid}, got {height}x{width}")
    # Converted before they are moved: on a CPU a third faster than after.
    blocks = frames.float().reshape(views, channels, rows, height // rows, cols, width // cols)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(views * rows * cols, -1)


def cosine_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Cosine per row, ``a.b / (|a| |b| + 1e-8)`` (official VLA-Cache). Blind to a change of brightness.

    Args:
        a, b: float32[P, F].

    Returns:
        float32[P]; 0 for an all-black patch.
    """
    dot = torch.linalg.vecdot(a, b)
    return dot / (torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1) + 1e-8)


def dice_similarity(a: Tensor, b: Tensor) -> Tensor:
    """``2 a.b / (|a|^2 + |b|^2)``, written as ``1 - |a - b|^2 / (|a|^2 + |b|^2)``: exactly 1 only for equal patches.

    Never above the cosine, and unlike it sensitive to brightness: a lamp that goes out is a change.

    Args:
        a, b: float32[P, F].

    Returns:
        float32[P]; 1 where both patches are black.
    """
    difference = (a - b).square_().sum(dim=1)
    energy = torch.linalg.vecdot(a, a) + torch.linalg.vecdot(b, b)
    return 1.0 - difference / energy.clamp_min(1e-8)


def patch_similarity(a: Tensor, b: Tensor, measure: SimilarityMeasure) -> Tensor:
    """Similarity per patch under the named measure, float32[P]."""
    return cosine_similarity(a, b) if measure == "cosine" else dice_similarity(a, b)
