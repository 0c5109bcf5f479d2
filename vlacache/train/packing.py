"""Demos in single files of bounded size, to carry to a machine that has neither simulator nor pyarrow.

Every file says which part of which set it is, so that no part can be missing or left over from another set unnoticed.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from vlacache.train.demos import Demos, join_pictures

PACK_SUFFIX = ".demos.safetensors"
_ARRAYS = ("state", "action", "episode", "task", "frame_rows", "jpeg", "offsets", "aux")
_FACTS = ("views", "instructions", "aux_names")


@dataclass(frozen=True, slots=True)
class PackPart:
    """Which part of which set a file is.

    Attributes:
        number: 0-based. count: parts of the set. part_set: digest over the content of all parts, in order.
    """

    number: int
    count: int
    part_set: str


def write_packs(demos: Demos, folder: Path, *, max_bytes: int = 60 << 20, name: str = "part") -> list[Path]:
    """Write ``<name>-000.demos.safetensors`` and so on, whole episodes in each.

    Raises:
        ValueError: one episode alone is larger than ``max_bytes``, or the folder holds packs of that name already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = sorted(folder.glob(f"{name}-*{PACK_SUFFIX}"))
    if there:
        raise ValueError(
            f"{folder}: expected no {name}-*{PACK_SUFFIX}, found {len(there)}, which would be read as well; "
            "delete them or use another folder"
        )
    parts = list(_split(demos, max_bytes))
    digests = [_content(part) for part in parts]
    part_set = hashlib.sha256("".join(digests).encode()).hexdigest()
    paths = []
    for number, (part, digest) in enumerate(zip(parts, digests, strict=True)):
        facts = {**{key: getattr(part, key) for key in _FACTS}, "info": part.info}
        facts["part"] = {**asdict(PackPart(number, len(parts), part_set)), "sha256": digest}
        metadata = {key: json.dumps(value) for key, value in facts.items()}
        paths.append(folder / f"{name}-{number:03d}{PACK_SUFFIX}")
        save_file(_arrays(part), paths[-1], metadata=metadata)
    return paths


def read_pack(path: Path) -> Demos:
    """Inverse of ``write_packs`` for one file.

    Raises:
        ValueError: not a packed file, or a damaged one.
    """
    return _read(path)[0]


def read_packs(paths: Sequence[Path]) -> list[Demos]:
    """All packs of a folder, in the order given.

    Raises:
        ValueError: a damaged file, a set of which parts are missing, or parts of an older version beside a set.
    """
    demos, parts = zip(*(_read(path) for path in paths), strict=True)
    sets: dict[str, list[PackPart]] = {}
    for part in parts:
        if part is not None:
            sets.setdefault(part.part_set, []).append(part)
    folder = paths[0].parent
    if sets and None in parts:
        raise ValueError(f"{folder}: packs of an older version lie beside newer ones; pack again into an empty folder")
    for found in sets.values():
        numbers, count = sorted(part.number for part in found), found[0].count
        if numbers != list(range(count)):
            raise ValueError(
                f"{folder}: expected parts 0 .. {count - 1} of set {found[0].part_set[:12]} once each, got {numbers}; "
                "copy the missing ones, or pack again into an empty folder"
            )
    return list(demos)


def _read(path: Path) -> tuple[Demos, PackPart | None]:
    """Demos of a file and which part it is; None for a file of an older version, which does not say."""
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {key: file.get_tensor(key) for key in _ARRAYS}
            metadata = {key: json.loads(text) for key, text in file.metadata().items()}
        names: dict[str, Any] = {key: tuple(metadata[key]) for key in _FACTS}
        demos = Demos(**names, **arrays, info=metadata["info"])
        if "part" not in metadata:
            return demos, None
        digest = metadata["part"].pop("sha256")
        part = PackPart(**metadata["part"])
    except (SafetensorError, KeyError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name}: expected a file of scripts/pack_demos.py, got: {error}") from error
    if _content(demos) != digest:
        raise ValueError(f"{path.name}: damaged, its content is not what was written; copy it again")
    return demos, part


def _arrays(demos: Demos) -> dict[str, NDArray[Any]]:
    return {key: np.ascontiguousarray(getattr(demos, key)) for key in _ARRAYS}


def _content(demos: Demos) -> str:
    """sha256 of the arrays and names of a part."""
    digest = hashlib.sha256(json.dumps([getattr(demos, key) for key in _FACTS]).encode())
    for array in _arrays(demos).values():
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


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
