"""Demonstrations in memory: every env step's state and action, and the JPEG pictures of the training frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Auxiliary targets: ``aux.<view>.<what>`` float32[2], x right and y down in [0, 1] of that picture;
#: ``aux.<what>_offset`` float32[3], metres from the gripper in the world frame. Null where there is no such thing.
AUX_PREFIX = "aux."
IMAGE_PREFIX = "observation.images."


@dataclass(frozen=True, eq=False)
class Demos:
    """R env steps of whole episodes, F of them with pictures. Letters: S proprio, A auxiliary numbers, V views.

    Attributes:
        views: camera names in the order of the pictures. instructions: the task in words, by task number.
        state: float32[R, S] proprio. action: float32[R, dim], the expert's label.
        episode: int64[R] 0-based, ascending. task: int64[R] index into ``instructions``.
        frame_rows: int64[F] rows that have pictures, ascending.
        jpeg: uint8[bytes] all pictures, frame by frame, views in order. offsets: int64[F * V + 1] into ``jpeg``.
        aux_names: of the columns of ``aux``. aux: float32[F, A], NaN where unknown.
        info: where the demos come from (``meta/info.json``).
    """

    views: tuple[str, ...]
    instructions: tuple[str, ...]
    state: NDArray[np.float32]
    action: NDArray[np.float32]
    episode: NDArray[np.int64]
    task: NDArray[np.int64]
    frame_rows: NDArray[np.int64]
    jpeg: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    aux_names: tuple[str, ...] = ()
    aux: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not len(self.frame_rows):
            raise ValueError("demos: expected at least one frame with pictures, got none")
        if len(self.offsets) != len(self.frame_rows) * len(self.views) + 1 or self.offsets[-1] != len(self.jpeg):
            raise ValueError(f"demos: offsets do not fit {len(self.frame_rows)} frames of {len(self.views)} views")
        for name in ("state", "action"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"demos: expected finite numbers in {name}, got NaN or infinity")

    @property
    def num_frames(self) -> int:
        """F."""
        return len(self.frame_rows)

    @property
    def num_episodes(self) -> int:
        """Demonstrations."""
        return int(self.episode[-1]) + 1

    def near_grip_change(self, window: int) -> NDArray[np.bool_]:
        """bool[F]: whether the gripper command changes at most ``window`` steps before or after the frame."""
        closed = self.action[:, -1] > 0
        changes = 1 + np.flatnonzero((closed[1:] != closed[:-1]) & (self.episode[1:] == self.episode[:-1]))
        near = (changes[:, None] + np.arange(-window, window + 1)).clip(0, len(closed) - 1)
        same = self.episode[near] == self.episode[changes][:, None]
        return np.isin(self.frame_rows, near[same])

    def picture(self, frame: int, view: int) -> bytes:
        """The JPEG of one picture."""
        start, stop = self.offsets[frame * len(self.views) + view :][:2]
        return self.jpeg[start:stop].tobytes()

    def chunks(self, frames: NDArray[np.int64], length: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Actions float32[n, T, dim] that follow each frame, and bool[n, T] False after the end of its episode.

        What lies after the end repeats the last action.
        """
        rows = self.frame_rows[frames]
        last = np.searchsorted(self.episode, self.episode[rows], side="right") - 1
        wanted = rows[:, None] + np.arange(length)
        return self.action[np.minimum(wanted, last[:, None])], wanted <= last[:, None]

    def select(self, views: Sequence[str]) -> Demos:
        """Only these views.

        Raises:
            ValueError: a view that was not recorded.
        """
        missing = [v for v in views if v not in self.views]
        if missing:
            raise ValueError(f"demos: expected pictures of {missing}, got {list(self.views)}")
        if tuple(views) == self.views:
            return self
        at = [self.views.index(v) for v in views]
        pictures = [self.picture(f, v) for f in range(self.num_frames) for v in at]
        names = [i for i, n in enumerate(self.aux_names) if aux_view(n, self.views) in (None, *views)]
        jpeg, offsets = join_pictures(pictures)
        return Demos(
            tuple(views), self.instructions, self.state, self.action, self.episode, self.task, self.frame_rows,
            jpeg, offsets, tuple(self.aux_names[i] for i in names), self.aux[:, names], self.info,
        )  # fmt: skip


def aux_view(name: str, views: Sequence[str]) -> str | None:
    """The view in whose picture the auxiliary column ``name`` is a position; None for one in metres."""
    first = name.removeprefix(AUX_PREFIX).split(".")[0]
    return first if first in views else None


def join_pictures(pictures: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All pictures in one array, and where each begins and the last ends."""
    offsets = np.cumsum([0, *(len(p) for p in pictures)], dtype=np.int64)
    return np.frombuffer(b"".join(pictures), np.uint8), offsets


def concatenate(parts: Sequence[Demos]) -> Demos:
    """One set of several; equal instructions become one task, auxiliary numbers that a part lacks are NaN there.

    Raises:
        ValueError: nothing to join, or parts with other views or sizes.
    """
    if not parts:
        raise ValueError("demos: expected at least one set, got none")
    if len(parts) == 1:
        return parts[0]
    shapes = {(p.views, p.state.shape[1], p.action.shape[1]) for p in parts}
    if len(shapes) > 1:
        raise ValueError(f"demos: expected sets of equal views and sizes, got {sorted(shapes)}")
    instructions = tuple(dict.fromkeys(text for p in parts for text in p.instructions))
    names = tuple(dict.fromkeys(name for p in parts for name in p.aux_names))
    rows = np.cumsum([0, *(len(p.state) for p in parts)])
    episodes = np.cumsum([0, *(p.num_episodes for p in parts)])
    size = np.cumsum([0, *(len(p.jpeg) for p in parts)])
    return Demos(
        parts[0].views,
        instructions,
        np.concatenate([p.state for p in parts]),
        np.concatenate([p.action for p in parts]),
        np.concatenate([p.episode + at for p, at in zip(parts, episodes, strict=False)]),
        np.concatenate([np.array([instructions.index(t) for t in p.instructions])[p.task] for p in parts]),
        np.concatenate([p.frame_rows + at for p, at in zip(parts, rows, strict=False)]),
        np.concatenate([p.jpeg for p in parts]),
        np.concatenate([[0], *(p.offsets[1:] + at for p, at in zip(parts, size, strict=False))]),
        names,
        np.concatenate([_aligned(p, names) for p in parts]),
        {"parts": [p.info for p in parts]},
    )


def _aligned(part: Demos, names: tuple[str, ...]) -> NDArray[np.float32]:
    out = np.full((part.num_frames, len(names)), np.nan, np.float32)
    for column, name in enumerate(part.aux_names):
        out[:, names.index(name)] = part.aux[:, column]
    return out
