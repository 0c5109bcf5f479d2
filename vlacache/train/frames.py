"""Decoded pictures of the training frames, kept in memory where they fit."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from vlacache.train.demos import Demos


class FrameStore:
    """Decodes and resizes pictures as inference does, and keeps them up to a budget. Safe to use from threads.

    Args:
        demos: of the model's views. image_size: pixels of the model.
        max_bytes: memory for decoded pictures; frames that do not fit are decoded at every use (about 2 ms a picture).
    """

    def __init__(self, demos: Demos, image_size: int, max_bytes: int = 6 << 30) -> None:
        self._demos = demos
        self._size = image_size
        frame_shape = (len(demos.views), image_size, image_size, 3)
        self.num_kept = min(demos.num_frames, max_bytes // int(np.prod(frame_shape)))
        self._kept = np.empty((self.num_kept, *frame_shape), np.uint8)
        self._filled = np.zeros((self.num_kept, len(demos.views)), bool)

    def get(self, frame: int, view: int) -> NDArray[np.uint8]:
        """uint8[S, S, 3], not to be written to."""
        keeps = frame < self.num_kept
        if keeps and self._filled[frame, view]:
            return self._kept[frame, view]
        picture = self._decode(frame, view)
        if keeps:
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
