"""Names beside the points of a plot, placed so that they cover as little as can be and never leave the axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

#: Where the middle of a label may stand, in points from its marker: (x, y, alignment), the first of the best is taken.
PLACES = tuple(
    (dx, dy, align)
    for dy in (8, -8, 0, 18, -18, 30, -30, 42, -42, 54, -54, 66, -66, 78, -78)
    for dx, align in ((8, "left"), (-8, "right"))
)
#: A label further away than this many points gets a thin line to its marker.
_NEAR = 12
_OUTSIDE = 1000
#: Words on words cannot be read; words on a marker, a whisker or a line can.
_ON_WORDS = 5
#: Rounds in which each label may move once more, now that the others have their places.
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Point:
    """A marker at ``(x, y)`` with its whisker ``interval`` (low, high), in data units, and the words beside it."""

    x: float
    y: float
    interval: tuple[float, float] | None
    words: str
    color: str


def label_points(axes: Axes, points: Sequence[Point]) -> None:
    """Write the words of each point, in order; the figure must have been laid out (``draw_without_rendering``)."""
    taken = [_occupied(axes, point) for point in points]
    shapes = [(line.get_transform(), np.asarray(line.get_xydata(), dtype=float)) for line in axes.lines]
    # A whisker is vertical and stands in ``taken``.
    curves = [Path(transform.transform(shape)) for transform, shape in shapes if len(shape) > 2 or _is_level(shape)]
    inside = axes.get_window_extent()
    choices = [_boxes_of(axes, point) for point in points]
    chosen: dict[int, int] = {}
    for _ in range(_ROUNDS):
        for i, boxes in enumerate(choices):
            words = [choices[j][place] for j, place in chosen.items() if j != i]
            costs = [_cost(box, inside, taken, curves, words) for box in boxes]
            chosen[i] = costs.index(min(costs))
    for i, point in enumerate(points):
        _write(axes, point, PLACES[chosen[i]])


def _is_level(shape: NDArray[np.float64]) -> bool:
    """Whether a line of two points is horizontal: a baseline."""
    return bool(len(shape) == 2 and shape[0, 1] == shape[1, 1])


def _boxes_of(axes: Axes, point: Point) -> list[Bbox]:
    """Display box of the label of ``point`` at each of ``PLACES``."""
    text = _write(axes, point)
    boxes = [_box_at(axes, text, point, place) for place in PLACES]
    text.remove()
    return boxes


def _write(axes: Axes, point: Point, place: tuple[int, int, str] = PLACES[0]) -> Annotation:
    dx, dy, align = place
    style: dict[str, Any] = {"ha": align, "va": "center", "fontsize": 8.6, "fontweight": "bold", "zorder": 6}
    leader = {"arrowstyle": "-", "color": point.color, "linewidth": 0.7, "shrinkA": 0.0, "shrinkB": 3.0}
    return axes.annotate(
        point.words,
        (point.x, point.y),
        (dx, dy),
        textcoords="offset points",
        color=point.color,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
        arrowprops=leader if abs(dy) > _NEAR else None,
        **style,
    )


def _box_at(axes: Axes, text: Annotation, point: Point, place: tuple[int, int, str]) -> Bbox:
    """Display box that ``text`` would have at ``place``."""
    extent, (dx, dy, align) = text.get_window_extent(), place
    pixels = axes.get_figure(root=True).dpi / 72.0  # type: ignore[union-attr]
    x, y = axes.transData.transform((point.x, point.y)) + pixels * np.array([dx, dy])
    left = x if align == "left" else x - extent.width
    return Bbox.from_bounds(left, y - extent.height / 2, extent.width, extent.height)


def _cost(box: Bbox, inside: Bbox, taken: Sequence[Bbox], curves: Sequence[Path], words: Sequence[Bbox]) -> int:
    """How much a label in ``box`` would cover."""
    is_outside = bool(box.x0 < inside.x0 or box.x1 > inside.x1 or box.y0 < inside.y0 or box.y1 > inside.y1)
    covered = sum(bool(box.overlaps(other)) for other in taken)
    crossed = sum(bool(curve.intersects_bbox(box, filled=False)) for curve in curves)
    on_words = sum(bool(box.overlaps(other)) for other in words)
    return _OUTSIDE * int(is_outside) + _ON_WORDS * on_words + covered + crossed


def _occupied(axes: Axes, point: Point) -> Bbox:
    """Display box of a marker and its whisker."""
    low, high = (point.y, point.y) if point.interval is None else point.interval
    (left, bottom), (right, top) = axes.transData.transform([(point.x, low), (point.x, high)])
    return Bbox.from_extents(left - 6, bottom - 6, right + 6, top + 6)
