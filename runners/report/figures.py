"""Shared parts of every figure: style, titles, saving. No pyplot, so nothing global is touched."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from runners.files import atomic_path
from runners.report.palette import FIGURE_STYLE, INK, MUTED

WIDTH_INCHES = 8.0
#: Space above the axes for the two title lines, in inches.
HEAD_INCHES = 0.62


@contextmanager
def figure_style() -> Iterator[None]:
    """The house style, whatever the caller's matplotlib settings are.

    A layout too tight for its labels still draws; matplotlib's warning of it would only break into the table.
    """
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="constrained_layout not applied", category=UserWarning)
        mpl.rcdefaults()
        for name, value in FIGURE_STYLE.items():
            mpl.rcParams[name] = value  # type: ignore[index]
        yield


def new_figure(height: float) -> Figure:
    """An empty figure of the common width; ``height`` in inches, title lines included."""
    layout = ConstrainedLayoutEngine(rect=(0.0, 0.0, 1.0, 1.0 - HEAD_INCHES / height), w_pad=0.08, h_pad=0.08)
    figure = Figure(figsize=(WIDTH_INCHES, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def write_title(figure: Figure, title: str, subtitle: str) -> None:
    """A bold statement of what is shown and a grey line of where it comes from, left-aligned at the top."""
    height = figure.get_size_inches()[1]
    figure.text(0.012, 1.0 - 0.12 / height, title, fontsize=12.5, fontweight="bold", va="top", color=INK)
    figure.text(0.012, 1.0 - 0.42 / height, subtitle, fontsize=8.8, va="top", color=MUTED)


def write_axis_title(axes: Axes, text: str) -> None:
    """Panel heading above the axes, left-aligned."""
    axes.set_title(text, loc="left", fontsize=9.5, fontweight="bold", color=INK)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG atomically; the same figure gives the same bytes (no date, no version inside)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
