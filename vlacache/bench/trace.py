"""What a model that solves the task attended to, call by call, so that another model can decide as if it had.

With random weights attention and actions mean nothing, but latency at 7B has to be measured with random weights
wherever no checkpoint can be had. So relevance, entropy and the motion of the hand come from a trace, and everything
else is live: similarity between the frames, ages, cold calls, the cost of reading attention.

Resampling to another model: relevance scores are resized bilinearly (antialiased) from the trace's patch grid to the
model's, view by view. Entropies are kept as shares of their maximum, ``E / log N``; layer l of L' takes the share at
relative depth ``(l + 0.5) / L'``, linearly between the trace's layers, ends held, times its own ``log N``. A call at
env step t takes the last entry at or before t, the first one if there is none. Views go by name; where the model's
names are others, by order.
"""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vlacache.bench.episode import DEFAULT_EPISODE, open_arrays
from vlacache.core.layout import SpanKind
from vlacache.core.motion import Motion

DEFAULT_TRACE = DEFAULT_EPISODE.with_suffix(".trace.npz")
#: Rows that policies average for relevance: ``text`` alone, or with the rows of the action placeholders.
RELEVANCE_KINDS: tuple[tuple[SpanKind, ...], ...] = (("text",), ("text", "action"))


def kinds_key(kinds: Sequence[str]) -> str:
    """Name of a choice of rows in the file."""
    return "_".join(kinds)


@dataclass(frozen=True, slots=True)
class TraceSource:
    """Where a trace comes from.

    Attributes:
        model, weights, checkpoint: of ``ModelInfo``. episode: source of the recorded episode.
        relevance_layer: index of 32 whose attention gave the scores.
    """

    model: str
    weights: str
    checkpoint: str
    episode: str
    relevance_layer: int

    def __str__(self) -> str:
        return f"{self.model} {self.checkpoint} ({self.weights}), {self.episode}"


@dataclass(frozen=True, slots=True)
class FittedTrace:
    """A trace resampled to one model.

    Attributes:
        steps: T ascending env steps. scores: float32[T, P] by choice of rows. entropy_shares: float32[T, L].
        motions: T, of the actions before each decision.
    """

    steps: tuple[int, ...]
    scores: dict[str, Tensor]
    entropy_shares: Tensor
    motions: tuple[Motion, ...]

    def at(self, step: int, kinds: Sequence[str], num_keys: int) -> tuple[Tensor, Tensor]:
        """Scores float32[P] and entropies float32[L] (nats, on the CPU) that a decision at an env step goes by."""
        index = self._index(step)
        return self.scores[kinds_key(kinds)][index], self.entropy_shares[index] * math.log(num_keys)

    def motion_at(self, step: int) -> Motion:
        """How the hand moved before a decision at an env step."""
        return self.motions[self._index(step)]

    def _index(self, step: int) -> int:
        return max(0, bisect.bisect_right(self.steps, step) - 1)


@dataclass(frozen=True, slots=True)
class AttentionTrace:
    """What decisions went by, for T calls.

    Attributes:
        source: model and episode.
        views: camera names.
        steps: int64[T] env step of each decision; the attention was read in the call before it.
        scores: float32[T, V, rows, cols] by choice of rows (``kinds_key``).
        entropy_shares: float32[T, L] mean row entropy / log N, in 0 .. 1.
        speeds: float64[T] and grips: bool[T], ``Motion`` of the actions between that call and the decision.
    """

    source: TraceSource
    views: tuple[str, ...]
    steps: NDArray[np.int64]
    scores: dict[str, NDArray[np.float32]] = field(repr=False)
    entropy_shares: NDArray[np.float32] = field(repr=False)
    speeds: NDArray[np.float64] = field(repr=False)
    grips: NDArray[np.bool_] = field(repr=False)

    def __post_init__(self) -> None:
        num_calls = len(self.steps)
        expected = {kinds_key(kinds) for kinds in RELEVANCE_KINDS}
        if set(self.scores) != expected:
            raise ValueError(f"trace: expected scores of {sorted(expected)}, got {sorted(self.scores)}")
        others: dict[str, NDArray[Any]] = {
            "entropy_shares": self.entropy_shares, "speeds": self.speeds, "grips": self.grips
        }  # fmt: skip
        for name, array in {**self.scores, **others}.items():
            if len(array) != num_calls or not np.isfinite(array).all():
                raise ValueError(f"trace: expected {num_calls} finite entries of {name}, got shape {list(array.shape)}")
        if num_calls == 0 or (np.diff(self.steps) <= 0).any():
            raise ValueError(f"trace: expected ascending env steps, at least one, got {self.steps.tolist()}")

    def fit(self, views: Sequence[str], grid: tuple[int, int], num_layers: int, device: torch.device) -> FittedTrace:
        """Resample to a model's views, patch grid and layers (rule: module docstring).

        Raises:
            ValueError: a model with more views than the trace.
        """
        if len(views) > len(self.views):
            raise ValueError(f"trace: expected at least {len(views)} views, got {self.views}")
        by_name = set(views) <= set(self.views)
        index = [self.views.index(view) for view in views] if by_name else list(range(len(views)))
        scores = {
            key: resize_scores(torch.from_numpy(value[:, index]), grid).flatten(1).to(device)
            for key, value in self.scores.items()
        }
        shares = resample_layers(torch.from_numpy(self.entropy_shares), num_layers)
        motions = tuple(Motion(float(v), bool(g)) for v, g in zip(self.speeds, self.grips, strict=True))
        return FittedTrace(tuple(self.steps.tolist()), scores, shares, motions)

    def save(self, path: Path) -> None:
        """Write an ``.npz``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        scores = {f"scores_{key}": value for key, value in self.scores.items()}
        np.savez_compressed(
            path, source=json.dumps(asdict(self.source)), views=list(self.views), steps=self.steps,
            entropy_shares=self.entropy_shares, speeds=self.speeds, grips=self.grips, **scores,  # type: ignore[arg-type]
        )  # fmt: skip

    @classmethod
    def load(cls, path: Path = DEFAULT_TRACE) -> AttentionTrace:
        """Read a trace.

        Raises:
            FileNotFoundError: no such file. ValueError: not a trace.
        """
        with open_arrays(path, "an attention trace") as data:
            missing = {"source", "views", "steps", "entropy_shares", "speeds", "grips"} - set(data)
            if missing:
                raise ValueError(
                    f"{path.name}: expected an attention trace, it lacks {sorted(missing)}; "
                    "scripts/record_cache_trace.py records it anew"
                )
            scores = {key.removeprefix("scores_"): data[key] for key in data if key.startswith("scores_")}
            source = TraceSource(**json.loads(str(data["source"])))
            views, motion = tuple(data["views"].tolist()), (data["speeds"], data["grips"])
            return cls(source, views, data["steps"], scores, data["entropy_shares"], *motion)


def resize_scores(scores: Tensor, grid: tuple[int, int]) -> Tensor:
    """[T, V, rows, cols] -> [T, V, *grid]; the same where the grid is."""
    if tuple(scores.shape[-2:]) == grid:
        return scores
    return F.interpolate(scores, size=grid, mode="bilinear", align_corners=False, antialias=True)


def resample_layers(values: Tensor, num_layers: int) -> Tensor:
    """[T, L] -> [T, num_layers], linear in relative depth; the same where the number of layers is."""
    if values.shape[1] == num_layers:
        return values
    return F.interpolate(values[:, None], size=num_layers, mode="linear", align_corners=False)[:, 0]
