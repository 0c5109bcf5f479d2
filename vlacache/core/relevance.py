"""Attention of chosen prompt rows on patches: which patches the task looks at."""

from __future__ import annotations

import torch
from torch import Tensor

from vlacache.core.layout import TokenLayout


def relevance_scores(attention: Tensor, layout: TokenLayout) -> Tensor:
    """Mean attention of the read rows on every patch.

    Args:
        attention: float32[H, R, N] softmax rows at the relevance layer.
        layout: of the prompt that the rows belong to.

    Returns:
        float32[P].
    """
    return attention[:, :, layout.vision].mean(dim=(0, 1))


def top_per_view(scores: Tensor, count: int, layout: TokenLayout) -> Tensor:
    """The ``count`` highest-scoring patches of every view.

    Args:
        scores: float[P]. count: patches per view, at most the patches of a view.

    Returns:
        bool[P].
    """
    mask = torch.zeros_like(scores, dtype=torch.bool)
    if count <= 0:
        return mask
    per_view = scores.view(len(layout.views), layout.patches_per_view)
    mask.view_as(per_view).scatter_(1, per_view.topk(count, dim=1).indices, True)
    return mask


def above_threshold_per_view(scores: Tensor, threshold: float, layout: TokenLayout) -> Tensor:
    """Patches whose score, min-max normalised inside its view, exceeds ``threshold``.

    The paper gives a threshold of 0.5 without a normalisation; a softmax row over hundreds of keys never reaches 0.5,
    so the threshold can only be meant for normalised scores. A view with equal scores has no relevant patch.

    Returns:
        bool[P].
    """
    per_view = scores.view(len(layout.views), layout.patches_per_view)
    low = per_view.amin(dim=1, keepdim=True)
    span = per_view.amax(dim=1, keepdim=True) - low
    return ((per_view - low) > threshold * span).flatten()
