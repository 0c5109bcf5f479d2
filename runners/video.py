"""``runner.video``: films of chosen episodes, and overlays of what the cache did in them, drawn after the run.

While an episode runs, frames go to a raw file; the encoder starts when it is over, so that it takes no time from the
policy calls being measured. Rendering for a film does happen between the calls: film few of the episodes you time.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from runners.files import TEMPORARY_SUFFIX, remove_leftovers
from runners.film import FilmInfo, side_by_side, write_film, write_info
from runners.observers import EpisodeInfo, Observer, RunInfo, SuiteOutcome
from runners.overlay import draw_overlays
from runners.records import EpisodeRecord, StepRecord

logger = logging.getLogger(__name__)

VIDEO_FOLDER = "videos"


class VideoSelection:
    """Which pairs are filmed, both arms of each.

    Args:
        option: ``none``, ``all``, ``first`` (the first pair of each task), or pairs as ``["<task>:<init>", ...]``.

    Raises:
        ValueError: anything else.
    """

    def __init__(self, option: str | Sequence[str]) -> None:
        names = [] if option in ("none", "all", "first") else option
        if isinstance(names, str) or not all(isinstance(n, str) and re.fullmatch(r"\d+:\d+", n) for n in names):
            raise ValueError(
                f"runner.video: expected none, all, first or a list such as ['0:3','2:0'] (task:init), got {option!r}"
            )
        self._option = option if isinstance(option, str) else "listed"
        self._pairs = {(int(task), int(init)) for task, init in (name.split(":") for name in names)}

    def includes(self, task_id: int, init_index: int, pair_position: int) -> bool:
        """Whether this pair is filmed; ``pair_position`` is its place within its task."""
        if self._option in ("none", "all"):
            return self._option == "all"
        if self._option == "first":
            return pair_position == 0
        return (task_id, init_index) in self._pairs


class VideoObserver(Observer):
    """Writes ``videos/<episode slug>.mp4`` and, when the run is through, the overlays.

    Args:
        option: see ``VideoSelection``.
    """

    def __init__(self, option: str | Sequence[str]) -> None:
        self._selection = VideoSelection(option)
        self._folder = Path()
        self._run: RunInfo | None = None
        self._raw: BinaryIO | None = None
        self._shape: tuple[int, ...] = ()
        self._num_frames = 0

    def on_run_start(self, run: RunInfo) -> None:
        """Make the folder and remove what a killed process left half-written."""
        self._run = run
        self._folder = run.run_dir / VIDEO_FOLDER
        self._folder.mkdir(exist_ok=True)
        remove_leftovers(self._folder)

    def cameras(self, episode: EpisodeInfo) -> Sequence[str]:
        """Every camera of the task, for the chosen pairs."""
        chosen = self._selection.includes(episode.key.task_id, episode.key.init_index, episode.pair_position)
        return episode.spec.cameras if chosen else ()

    def on_episode_start(self, episode: EpisodeInfo) -> None:
        """Open the raw file of a chosen episode."""
        self._close_raw()
        if self.cameras(episode):
            self._raw = self._raw_path(episode).open("wb")
            self._num_frames = 0

    def on_frame(self, episode: EpisodeInfo, step: int, images: Mapping[str, NDArray[np.uint8]]) -> None:
        """Append one frame, cameras side by side."""
        if self._raw is None:
            return
        wanted = self.cameras(episode)
        frame = side_by_side([images[name] for name in wanted])
        self._shape = frame.shape
        self._raw.write(frame.tobytes())
        self._num_frames += 1

    def on_episode_end(self, episode: EpisodeInfo, record: EpisodeRecord, steps: Sequence[StepRecord]) -> None:
        """Encode the film."""
        if self._raw is None:
            return
        self._close_raw()
        raw = self._raw_path(episode)
        if self._num_frames:
            film = self._folder / f"{episode.key.slug}.mp4"
            height, width, _ = self._shape
            write_film(film, self._raw_frames(raw), (width, height), episode.spec.control_hz)
            info = FilmInfo(
                tuple(self.cameras(episode)),
                episode.spec.control_hz,
                self._num_frames,
                record.run_id,
                episode.key.slug,
                record.attempt,
            )
            write_info(film, info)
        raw.unlink()

    def on_run_end(self, outcome: SuiteOutcome) -> None:
        """Draw the overlays that are missing; not when someone waits for the process to stop."""
        self._close_raw()
        remove_leftovers(self._folder)
        if self._run is not None and not outcome.interrupted:
            for path in draw_overlays(self._folder, self._run.store):
                logger.info("overlay: %s", path)

    def _raw_path(self, episode: EpisodeInfo) -> Path:
        return self._folder / f".{episode.key.slug}{TEMPORARY_SUFFIX}.raw"

    def _raw_frames(self, raw: Path) -> Iterator[NDArray[np.uint8]]:
        frames = np.memmap(raw, dtype=np.uint8, mode="r", shape=(self._num_frames, *self._shape))
        yield from frames

    def _close_raw(self) -> None:
        if self._raw is not None:
            self._raw.close()
            self._raw = None
