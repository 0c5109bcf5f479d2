"""The frame that the next call is compared with: patch by patch exactly the old one or the new one."""

from __future__ import annotations

import torch

from vlacache.core.layout import TokenLayout
from vlacache.core.reference import ReferenceFrame
from vlacache.core.similarity import patchify


def test_patches_are_taken_exactly_and_the_old_frame_stays(oft_layout: TokenLayout) -> None:
    generator = torch.Generator().manual_seed(0)
    size = (len(oft_layout.views), 3, 14 * oft_layout.grid[0], 14 * oft_layout.grid[1])
    old, new = (torch.randint(0, 256, size, dtype=torch.uint8, generator=generator) for _ in range(2))
    before, after = patchify(old, oft_layout.grid), patchify(new, oft_layout.grid)
    which = torch.rand(oft_layout.num_patches, generator=generator) < 0.5
    reference = ReferenceFrame(old, before)
    reference.take(which, after, oft_layout)
    taken = reference.patches(oft_layout)
    assert torch.equal(taken[which], after[which]) and torch.equal(taken[~which], before[~which])
    assert torch.equal(before, patchify(old, oft_layout.grid)), "another call may still hold it"
