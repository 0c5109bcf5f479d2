"""The one place for colours, markers and figure style; colour-blind-safe (Okabe and Ito 2008; Tol 2021 for stages).

No matplotlib here: the terminal uses the same colours.
"""

from __future__ import annotations

from typing import Any

#: Cache policy -> colour, the same in every table and plot. Policies by others get the fallback.
CACHE_COLORS: dict[str, str] = {
    "none": "#6E6E6E",
    "adaptive": "#0072B2",
    "paper": "#E69F00",
    "official": "#D55E00",
    "fixed_ratio": "#009E73",
    "static": "#56B4E9",
    "static_task": "#CC79A7",
    "random": "#A08A00",
}
CACHE_MARKERS: dict[str, str] = {
    "none": "s",
    "adaptive": "D",
    "paper": "^",
    "official": "v",
    "fixed_ratio": "o",
    "static": "P",
    "static_task": "X",
    "random": "*",
}
STAGE_COLORS: dict[str, str] = {
    "preprocess": "#BBCC33",
    "vision": "#77AADD",
    "decide": "#EE8866",
    "prefill": "#44608C",
    "decode": "#99DDFF",
    "action_head": "#EEDD88",
    "postprocess": "#B4B4B4",
}
INK = "#1A1A1A"
MUTED = "#5F5F5F"
GRID = "#E3E3E3"

FIGURE_STYLE: dict[str, Any] = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": "#8A8A8A",
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "vlacache",
}


def cache_color(cache: str) -> str:
    """Colour of a cache policy."""
    return CACHE_COLORS.get(cache, "#882255")


def cache_marker(cache: str) -> str:
    """Marker of a cache policy, so that no plot depends on colour alone."""
    return CACHE_MARKERS.get(cache, "h")
