"""Where each token of a prompt sits: the only module that knows an offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, get_args

SpanKind = Literal["bos", "vision", "proprio", "text", "cognition", "action", "stop"]

#: The method's constants were chosen for 32 layers and 256 patches a view (official code and paper).
REFERENCE_LAYERS = 32
REFERENCE_PATCHES = 256


@dataclass(frozen=True, slots=True)
class Span:
    """Positions ``start .. stop - 1`` of the prompt. ``name`` is the camera's for vision, else the kind."""

    name: str
    kind: SpanKind
    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of tokens."""
        return self.stop - self.start


@dataclass(frozen=True)
class TokenLayout:
    """Named spans of one prompt, in order and without gaps.

    All vision spans are adjacent and of equal size, so vision token ``p`` (0 .. P-1, views in order, row-major in a
    view) is prompt position ``vision_start + p``.

    Attributes:
        spans: the spans in order.
        grid: patch rows and columns of one view.
    """

    spans: tuple[Span, ...]
    grid: tuple[int, int]

    @classmethod
    def build(cls, parts: Sequence[tuple[str, SpanKind, int]], grid: tuple[int, int]) -> TokenLayout:
        """Lay ``(name, kind, length)`` parts one after the other; parts of length 0 are left out.

        Raises:
            ValueError: an unknown kind, a negative length, no vision span, vision spans that are not adjacent or
                whose length is not ``grid[0] * grid[1]``.
        """
        spans: list[Span] = []
        position = 0
        for name, kind, length in parts:
            if kind not in get_args(SpanKind):
                raise ValueError(f"span kind: expected one of {get_args(SpanKind)}, got {kind!r} for {name!r}")
            if length < 0:
                raise ValueError(f"span {name!r}: expected a length >= 0, got {length}")
            if length:
                spans.append(Span(name, kind, position, position + length))
                position += length
        vision = [s for s in spans if s.kind == "vision"]
        if not vision:
            raise ValueError("layout: expected at least one vision span, got none")
        per_view = grid[0] * grid[1]
        if any(s.length != per_view for s in vision):
            raise ValueError(
                f"layout: every view must have {per_view} tokens, got {[(s.name, s.length) for s in vision]}"
            )
        if any(a.stop != b.start for a, b in pairwise(vision)):
            raise ValueError("layout: vision spans must be adjacent, so that a patch index maps to one offset")
        return cls(tuple(spans), grid)

    @cached_property
    def num_tokens(self) -> int:
        """N, the prompt length."""
        return self.spans[-1].stop

    @cached_property
    def views(self) -> tuple[str, ...]:
        """Camera names in token order."""
        return tuple(s.name for s in self.spans if s.kind == "vision")

    @cached_property
    def patches_per_view(self) -> int:
        """Patches of one camera."""
        return self.grid[0] * self.grid[1]

    @cached_property
    def num_patches(self) -> int:
        """P, patches (= vision tokens) of all cameras."""
        return self.patches_per_view * len(self.views)

    @cached_property
    def vision_start(self) -> int:
        """Prompt position of vision token 0."""
        return next(s.start for s in self.spans if s.kind == "vision")

    @property
    def vision(self) -> slice:
        """Prompt positions of all vision tokens."""
        return slice(self.vision_start, self.vision_start + self.num_patches)

    def positions(self, *kinds: SpanKind) -> list[int]:
        """Ascending prompt positions of all spans of the given kinds."""
        return [p for s in self.spans if s.kind in kinds for p in range(s.start, s.stop)]

    def relevance_positions(self, *kinds: SpanKind) -> list[int]:
        """Ascending positions of the rows that say what the task looks at, for a policy that reads ``kinds``.

        Where the prompt ends in a cognition token (CogACT), its row alone: nothing else of the decoder's output is
        used, and it attends to the whole instruction.
        """
        return self.positions("cognition") or self.positions(*kinds)

    def scale_count(self, count: int) -> int:
        """A per-view count made for 256 patches, scaled to this grid: ``k P / 256`` rounded half up, at most P."""
        scaled = (2 * count * self.patches_per_view + REFERENCE_PATCHES) // (2 * REFERENCE_PATCHES)
        return min(scaled, self.patches_per_view)


def scale_layer(layer: int, num_layers: int) -> int:
    """A layer index made for 32 layers, scaled to ``num_layers``: ``round(l L / 32)``, halves up.

    Half up rather than half to even: a rule that leaves the first two of 32 layers alone must not start at layer 0
    of a model with 8.
    """
    scaled = (2 * layer * num_layers + REFERENCE_LAYERS) // (2 * REFERENCE_LAYERS)
    return min(scaled, num_layers - 1)


def scale_layers(layers: Sequence[int], num_layers: int) -> tuple[int, ...]:
    """Scaled layer indices, ascending, duplicates dropped."""
    return tuple(sorted({scale_layer(layer, num_layers) for layer in layers}))
