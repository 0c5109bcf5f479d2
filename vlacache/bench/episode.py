"""A recorded episode: lossless frames, proprioception and instruction of every env step."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from vlacache.types import Observation

DEFAULT_EPISODE = Path(__file__).parent / "data" / "libero_spatial_t00_i000.npz"


def open_arrays(path: Path, what: str) -> NpzFile:
    """Open an ``.npz``.

    Raises:
        FileNotFoundError: no such file. ValueError: another kind of file, or a damaged one; ``what`` was expected.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected {what}, there is no such file")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path.name}: expected {what} (.npz), got another kind of file or a part of one")
    opened: NpzFile = np.load(path, allow_pickle=False)
    return opened


@dataclass(frozen=True, slots=True)
class RecordedEpisode:
    """What a policy would have seen.

    Attributes:
        views: camera names. frames: uint8[T, V, H, W, 3]. proprio: float32[T, S]. instruction: in words.
        source: suite, task, assets and how it was driven.
    """

    views: tuple[str, ...]
    frames: NDArray[np.uint8]
    proprio: NDArray[np.float32]
    instruction: str
    source: str

    def observations(self, stride: int, cameras: Sequence[str] | None = None) -> list[Observation]:
        """One observation per policy call of a model that executes ``stride`` actions of each chunk.

        Args:
            cameras: what the model calls its views, in order. Where the episode lacks one of these names, its first
                views are handed over under them: a model for another robot is timed on the frames there are.

        Raises:
            ValueError: more cameras than the episode has views.
        """
        names = self.views if cameras is None or set(cameras) <= set(self.views) else tuple(cameras)
        if len(names) > len(self.views):
            raise ValueError(f"episode: expected at least {len(names)} views for {list(names)}, got {self.views}")
        return [
            Observation(dict(zip(names, self.frames[t], strict=False)), self.instruction, self.proprio[t], t)
            for t in range(0, len(self.frames), stride)
        ]

    def save(self, path: Path) -> None:
        """Write an ``.npz``; frames as differences to the one before, which compresses static pictures tenfold."""
        difference = self.frames.copy()
        difference[1:] -= self.frames[:-1]  # uint8 wraps around, so this is lossless
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            path, difference=difference, proprio=self.proprio, views=list(self.views),
            instruction=self.instruction, source=self.source,
        )  # fmt: skip

    @classmethod
    def load(cls, path: Path = DEFAULT_EPISODE) -> RecordedEpisode:
        """Read an episode.

        Raises:
            FileNotFoundError: no such file. ValueError: not a recorded episode.
        """
        with open_arrays(path, "a recorded episode") as data:
            missing = {"difference", "proprio", "views", "instruction", "source"} - set(data)
            if missing:
                raise ValueError(f"{path.name}: expected a recorded episode, it lacks {sorted(missing)}")
            frames = np.cumsum(data["difference"], axis=0, dtype=np.uint8)
            views: Sequence[str] = data["views"].tolist()
            return cls(tuple(views), frames, data["proprio"], str(data["instruction"]), str(data["source"]))


def load_episodes(paths: Sequence[Path]) -> list[RecordedEpisode]:
    """Files, and all files of folders, in the order of their names.

    Raises:
        FileNotFoundError: a file that is not there, or a folder without episodes. ValueError: not a recorded episode.
    """
    files: list[Path] = []
    for path in paths:
        files += sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"{paths[0].name}: expected recorded episodes (*.npz) in that folder, there are none")
    return [RecordedEpisode.load(file) for file in files]
