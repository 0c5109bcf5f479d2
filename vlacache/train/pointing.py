"""Pointing: which patch holds the gripper, the named object and the goal. A loss that makes the model look.

A regression of coordinates tells a freshly made network little about where to look; a choice among the patches tells
it at once. Nothing of this is saved with a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlacache.train.demos import aux_view

#: Standard deviation of the soft label around the true position, in patches.
SPREAD_PATCHES = 0.7
KEY_WIDTH = 64


@dataclass(frozen=True, slots=True)
class Point:
    """A position in a picture: number of its view, and its columns (x, y) among the auxiliary targets."""

    view: int
    x: int
    y: int


def points_of(aux_names: Sequence[str], views: Sequence[str]) -> tuple[Point, ...]:
    """The positions among auxiliary columns ``aux.<view>.<what>.0`` (x) and ``.1`` (y)."""
    found = []
    for column, name in enumerate(aux_names):
        view = aux_view(name, views)
        if view is not None and name.endswith(".0"):
            found.append(Point(views.index(view), column, aux_names.index(name.removesuffix("0") + "1")))
    return tuple(found)


class PointingHead(nn.Module):
    """A query for each point from what makes the action, a key for each patch."""

    def __init__(self, hidden_size: int, points: Sequence[Point]) -> None:
        super().__init__()
        self.points = tuple(points)
        self.query = nn.Linear(hidden_size, len(points) * KEY_WIDTH)
        self.key = nn.Linear(hidden_size, KEY_WIDTH)

    def forward(self, read: Tensor, patches: Tensor) -> Tensor:
        """Logits: read [B, D], patches [B, V, K, D] -> [B, points, K] over the patches of each point's view."""
        queries = self.query(read).unflatten(-1, (len(self.points), KEY_WIDTH))
        keys = self.key(patches)[:, [p.view for p in self.points]]
        return (keys @ queries[..., None])[..., 0] * KEY_WIDTH**-0.5

    def loss(self, read: Tensor, patches: Tensor, kept: Tensor, aux: Tensor, grid: tuple[int, int]) -> Tensor:
        """Mean divergence (nats) of the choice from the soft label, over the points that are known.

        Args:
            kept: int64[B, V, K] row-major numbers of the patches. aux: float32[B, A], positions in [-1, 1].
        """
        views = [p.view for p in self.points]
        kept = kept[:, views]
        rows, columns = grid
        centres = torch.stack([(kept % columns + 0.5) * (2 / columns), (kept // columns + 0.5) * (2 / rows)], -1) - 1.0
        xy = torch.stack([aux[:, [p.x for p in self.points]], aux[:, [p.y for p in self.points]]], -1)
        known = ~xy.isnan().any(-1)
        patch = torch.tensor([2 / columns, 2 / rows], device=kept.device)
        away = (centres - xy.nan_to_num()[:, :, None]) / (patch * SPREAD_PATCHES)
        label = (-0.5 * away.square().sum(-1)).log_softmax(-1)
        choice = self(read, patches).float().log_softmax(-1)
        divergence = (label.exp() * (label - choice)).sum(-1)
        return (divergence * known).sum() / known.sum().clamp_min(1)
