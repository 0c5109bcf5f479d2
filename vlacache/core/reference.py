"""What the next call's pictures are compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from vlacache.core.layout import TokenLayout
from vlacache.core.similarity import patchify


class ReferenceFrame:
    """The frame (per patch) that the next call is compared with; cut into patches only when it is needed."""

    def __init__(self, frames: Tensor, patches: Tensor | None) -> None:
        self._frames = frames
        self._patches = patches

    def patches(self, layout: TokenLayout) -> Tensor:
        """float32[P, F]."""
        if self._patches is None:
            self._patches = patchify(self._frames, layout.grid)
        return self._patches

    def take(self, which: Tensor, patches: Tensor, layout: TokenLayout) -> None:
        """Replace the patches where bool[P] ``which`` says so."""
        self._patches = torch.where(which[:, None], patches, self.patches(layout))
