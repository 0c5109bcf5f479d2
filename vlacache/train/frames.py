"""Decoded pictures of the training frames, kept in memory where they fit."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from vlacache.train.demos import Demos


class FrameStore:
    """Decodes and resizes pictures as inference does, and keeps them up to a budget. Safe to use from threads.

    Args:
        demos: of the model's views. image_size: pixels of the model. max_bytes: memory for decoded pictures; when not
            all fit, none are kept and every use decodes again (about 2 ms a picture).
    """

    def __init__(self, demos: Demos, image_size: int, max_bytes: int = 6 << 30) -> None:
        self._demos = demos
        self._size = image_size
        shape = (demos.num_frames, len(demos.views), image_size, image_size, 3)
        self.keeps = bool(np.prod(shape, dtype=np.int64) <= max_bytes)
        self._kept = np.empty(shape if self.keeps else (0,), np.uint8)
        self._filled = np.zeros(shape[:2], bool)

    def get(self, frame: int, view: int) -> NDArray[np.uint8]:
        """uint8[S, S, 3], not to be written to."""
        if self.keeps and self._filled[frame, view]:
            return self._kept[frame, view]
        picture = self._decode(frame, view)
        if self.keeps:
            self._kept[frame, view] = picture
            self._filled[frame, view] = True  # after the pixels: another thread may look
        return picture

    def _decode(self, frame: int, view: int) -> NDArray[np.uint8]:
        from PIL import Image

        with Image.open(io.BytesIO(self._demos.picture(frame, view))) as file:
            picture = file.convert("RGB")
        if picture.size != (self._size, self._size):
            picture = picture.resize((self._size, self._size), Image.Resampling.BILINEAR)
        return np.asarray(picture)
