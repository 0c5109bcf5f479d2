"""Demos in single files of bounded size, to carry to a machine that has neither simulator nor pyarrow."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from vlacache.train.demos import Demos, join_pictures

PACK_SUFFIX = ".demos.safetensors"
_ARRAYS = ("state", "action", "episode", "task", "frame_rows", "jpeg", "offsets", "aux")


def write_packs(demos: Demos, folder: Path, *, max_bytes: int = 60 << 20, name: str = "part") -> list[Path]:
    """Write ``<name>-000.demos.safetensors`` and so on, whole episodes in each.

    Raises:
        ValueError: one episode alone is larger than ``max_bytes``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, part in enumerate(_split(demos, max_bytes)):
        metadata = {key: json.dumps(getattr(part, key)) for key in ("views", "instructions", "aux_names", "info")}
        paths.append(folder / f"{name}-{number:03d}{PACK_SUFFIX}")
        arrays = {key: np.ascontiguousarray(getattr(part, key)) for key in _ARRAYS}
        save_file(arrays, paths[-1], metadata=metadata)
    return paths


def read_pack(path: Path) -> Demos:
    """Inverse of ``write_packs`` for one file.

    Raises:
        ValueError: not a packed file, or a damaged one.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {key: file.get_tensor(key) for key in _ARRAYS}
            metadata = {key: json.loads(text) for key, text in file.metadata().items()}
    except (SafetensorError, KeyError, AttributeError) as error:
        raise ValueError(f"{path.name}: expected a file of scripts/pack_demos.py, got: {error}") from error
    names: dict[str, Any] = {key: tuple(metadata[key]) for key in ("views", "instructions", "aux_names")}
    return Demos(**names, **arrays, info=metadata["info"])


def recompress(demos: Demos, image_size: int, quality: int) -> Demos:
    """Smaller pictures: resized as the model would, then JPEG of the given quality."""
    from PIL import Image

    pictures = []
    for frame in range(demos.num_frames):
        for view in range(len(demos.views)):
            with Image.open(io.BytesIO(demos.picture(frame, view))) as picture:
                small = picture.convert("RGB").resize((image_size, image_size), Image.Resampling.BILINEAR)
            buffer = io.BytesIO()
            small.save(buffer, "JPEG", quality=quality)
            pictures.append(buffer.getvalue())
    jpeg, offsets = join_pictures(pictures)
    info = {**demos.info, "recompressed": {"image_size": image_size, "quality": quality}}
    return replace(demos, jpeg=jpeg, offsets=offsets, info=info)


def _split(demos: Demos, max_bytes: int) -> Iterator[Demos]:
    first = 0
    sizes = [_num_bytes(demos, e) for e in range(demos.num_episodes)]
    if max(sizes) > max_bytes:
        raise ValueError(f"max_bytes: an episode needs {max(sizes)} bytes, got {max_bytes}; recompress or raise it")
    total = 0
    for episode, size in enumerate(sizes):
        if total + size > max_bytes:
            yield _episodes(demos, first, episode)
            first, total = episode, 0
        total += size
    yield _episodes(demos, first, demos.num_episodes)


def _bounds(demos: Demos, first: int, stop: int) -> tuple[int, int, int, int]:
    """Rows and frames of the episodes ``first .. stop - 1``."""
    rows = np.searchsorted(demos.episode, [first, stop])
    frames = np.searchsorted(demos.frame_rows, rows)
    return int(rows[0]), int(rows[1]), int(frames[0]), int(frames[1])


def _num_bytes(demos: Demos, episode: int) -> int:
    row, stop_row, frame, stop_frame = _bounds(demos, episode, episode + 1)
    v = len(demos.views)
    pictures = int(demos.offsets[stop_frame * v] - demos.offsets[frame * v])
    per_row = 4 * (demos.state.shape[1] + demos.action.shape[1]) + 16
    return pictures + (stop_row - row) * per_row + (stop_frame - frame) * (8 + 8 * v + 4 * len(demos.aux_names))


def _episodes(demos: Demos, first: int, stop: int) -> Demos:
    row, stop_row, frame, stop_frame = _bounds(demos, first, stop)
    offsets = demos.offsets[frame * len(demos.views) : stop_frame * len(demos.views) + 1]
    return replace(
        demos,
        state=demos.state[row:stop_row],
        action=demos.action[row:stop_row],
        episode=demos.episode[row:stop_row] - first,
        task=demos.task[row:stop_row],
        frame_rows=demos.frame_rows[frame:stop_frame] - row,
        jpeg=demos.jpeg[offsets[0] : offsets[-1]],
        offsets=offsets - offsets[0],
        aux=demos.aux[frame:stop_frame],
    )
