"""What makes a training pass look: patches drawn where things happen, and a loss for pointing at them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vlacache.train.demos import Demos
from vlacache.train.frames import FrameStore
from vlacache.train.patch_drop import LOWEST_ODDS, draw_kept, patch_odds
from vlacache.train.pointing import Point, PointingHead, points_of


def test_draws_follow_the_odds_without_replacement() -> None:
    odds = np.array([[1.0] * 8 + [0.1] * 8, [0.5] * 16])
    kept = draw_kept(odds, 4000, 4, np.random.default_rng(0))
    assert kept.shape == (4000, 2, 4) and (np.diff(kept, axis=-1) > 0).all()
    shares = np.stack([np.bincount(kept[:, v].ravel(), minlength=16) for v in range(2)]) / 4000
    assert shares[0, :8].min() > 5 * shares[0, 8:].max()
    assert shares[1] == pytest.approx(0.25, abs=0.03)
    assert (draw_kept(odds, 3, 16, np.random.default_rng(0)) == np.arange(16)).all(), "all kept: none is left out"


def test_odds_are_high_where_the_demos_move(demos: Demos) -> None:
    size = 28
    odds = patch_odds(FrameStore(demos, size), demos.num_frames, len(demos.views), 7)
    assert odds.shape == (len(demos.views), 16) and odds.max() == 1.0 and odds.min() >= LOWEST_ODDS
    still = FrameStore(demos, size)
    still.get = lambda frame, view: np.full((size, size, 3), 10 * view, np.uint8)  # type: ignore[method-assign]
    assert (patch_odds(still, 3, 2, 7) == LOWEST_ODDS).all()


def test_points_are_the_pixel_columns() -> None:
    names = (
        "aux.wrist.target.0",
        "aux.wrist.target.1",
        "aux.target_offset.0",
        "aux.agentview.goal.0",
        "aux.agentview.goal.1",
    )
    assert points_of(names, ("agentview", "wrist")) == (Point(1, 0, 1), Point(0, 3, 4))


def test_pointing_at_the_right_patch_costs_least() -> None:
    torch.manual_seed(0)
    head = PointingHead(8, [Point(0, 0, 1), Point(1, 2, 3)])
    kept = torch.tensor([[[0, 5, 10, 15], [3, 6, 9, 12]]])
    aux = torch.tensor([[0.25, 0.25, float("nan"), 0.1]])  # the centre of patch 10 of a 4 x 4 grid; unknown
    costs = []
    for chosen in range(4):
        head.forward = lambda read, patches, c=chosen: torch.eye(4)[c].expand(1, 2, 4) * 20.0  # type: ignore[method-assign]
        costs.append(float(head.loss(torch.zeros(1, 8), torch.zeros(1, 2, 4, 8), kept, aux, (4, 4))))
    assert int(np.argmin(costs)) == 2 and costs[2] < 0.5 * min(costs[:2] + costs[3:])
    unknown = head.loss(torch.zeros(1, 8), torch.zeros(1, 2, 4, 8), kept, torch.full((1, 4), float("nan")), (4, 4))
    assert float(unknown) == 0.0


def test_pointing_can_be_learned() -> None:
    torch.manual_seed(0)
    head = PointingHead(16, [Point(0, 0, 1)])
    patches, kept = torch.eye(16).expand(16, 1, 16, 16), torch.arange(16).expand(16, 1, 16)
    read = torch.eye(16)
    where = torch.arange(16)
    aux = torch.stack([(where % 4 + 0.5) / 2 - 1, (where // 4 + 0.5) / 2 - 1], 1)
    optimizer = torch.optim.Adam(head.parameters(), 3e-2)
    for _ in range(200):
        loss = head.loss(read, patches, kept, aux, (4, 4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1 and float((head(read, patches)[:, 0].argmax(-1) == where).float().mean()) > 0.9
