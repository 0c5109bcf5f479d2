"""Films on the disk: H.264 in MP4 with a small JSON beside each that says which cameras stand side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from runners.files import atomic_path, write_text_atomic

Frame = NDArray[np.uint8]

#: One thread, so that encoding takes no more of the machine than it must; 18 is visually lossless.
_ENCODER = ["-crf", "18", "-preset", "veryfast", "-threads", "1", "-movflags", "+faststart"]


@dataclass(frozen=True, slots=True)
class FilmInfo:
    """What is in a film.

    Attributes:
        cameras: from left to right, equally wide. fps: control steps a second. num_frames: env steps + 1.
        run_id, episode, attempt: whose it is (slug of the episode key).
    """

    cameras: tuple[str, ...]
    fps: float
    num_frames: int
    run_id: str
    episode: str
    attempt: int


def write_film(path: Path, frames: Iterable[Frame], size: tuple[int, int], fps: float) -> None:
    """Encode frames uint8[H, W, 3] into ``path``, which appears only when it is complete.

    Args:
        path: ends in ``.mp4``. size: (W, H); H.264 wants even numbers, odd ones are padded by the caller.

    Raises:
        ValueError: a frame of another size, or an odd size.
    """
    width, height = size
    if width % 2 or height % 2:
        raise ValueError(f"film size: expected even numbers, got {width} x {height}; pad the frames")
    with atomic_path(path) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary), size, fps=fps, codec="libx264", quality=None, macro_block_size=2, output_params=_ENCODER
        )
        writer.send(None)
        try:
            for frame in frames:
                if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
                    raise ValueError(f"frame: expected uint8[{height}, {width}, 3], got {frame.dtype}{frame.shape}")
                writer.send(np.ascontiguousarray(frame))
        finally:
            writer.close()


def read_film(path: Path) -> Iterator[Frame]:
    """Frames uint8[H, W, 3] of a film, one after the other."""
    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["size"]
    for data in reader:
        yield np.frombuffer(data, dtype=np.uint8).reshape(height, width, 3)


def write_info(film: Path, info: FilmInfo) -> None:
    """Write the JSON beside ``film``."""
    write_text_atomic(film.with_suffix(".json"), json.dumps(asdict(info)) + "\n")


def read_info(film: Path) -> FilmInfo | None:
    """The JSON beside ``film``; None when the film or its JSON is missing (a kill between the two)."""
    path = film.with_suffix(".json")
    if not film.exists() or not path.exists():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    return FilmInfo(**{**data, "cameras": tuple(data["cameras"])})


def side_by_side(pictures: Sequence[Frame]) -> Frame:
    """Pictures of equal size in one row, padded by a black line where a side is odd."""
    row = np.concatenate(pictures, axis=1)
    return np.pad(row, ((0, row.shape[0] % 2), (0, row.shape[1] % 2), (0, 0)))
