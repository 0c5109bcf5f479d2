"""Labels of a picture with as many arms as the reference tables: inside the axes, and hardly one on another."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.text import Annotation, Text

from runners.report.figures import figure_style, new_figure
from runners.report.labels import Point, label_points

ARMS = (
    "paper", "official", "adaptive", "adaptive-no_max_age", "static", "static_task",
    *("0.2", "0.4", "0.6", "0.8"), *("0.2", "0.4", "0.6", "0.8"),
)  # fmt: skip
REUSE = (0.0, 1.5, 40.0, 45.0, 48.0, 42.0, 19.8, 38.9, 58.0, 77.7, 19.3, 38.2, 57.6, 76.6)


def draw(heights: list[float]) -> tuple[list[Annotation], object]:
    with figure_style():
        figure = new_figure(4.0)
        axes = figure.subplots()
        axes.set_xlim(-3, 100)
        axes.set_ylim(0, 112)
        figure.draw_without_rendering()
        points = [Point(x, y, None, name, "black") for x, y, name in zip(REUSE, heights, ARMS, strict=True)]
        label_points(axes, points)
        figure.draw_without_rendering()
    return [text for text in axes.texts if isinstance(text, Annotation)], axes.get_window_extent()


@pytest.mark.parametrize("seed", range(4))
def test_14_labels_stay_inside_and_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heights = [float(min(112.0, max(0.0, 100 - 0.5 * x + rng.normal(0, 6)))) for x in REUSE]
    texts, inside = draw(heights)
    assert [text.get_text() for text in texts] == list(ARMS)
    boxes = [Text.get_window_extent(text) for text in texts]
    for box in boxes:
        assert box.x0 >= inside.x0 - 1 and box.x1 <= inside.x1 + 1  # type: ignore[attr-defined]
        assert box.y0 >= inside.y0 - 1 and box.y1 <= inside.y1 + 1  # type: ignore[attr-defined]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_a_label_at_the_left_edge_is_not_beside_the_axis() -> None:
    """Where the best place would be to the left, over the numbers of the axis."""
    texts, inside = draw([100.0, 100.0, *(20.0 for _ in REUSE[2:])])
    assert Text.get_window_extent(texts[0]).x0 >= inside.x0  # type: ignore[attr-defined]
