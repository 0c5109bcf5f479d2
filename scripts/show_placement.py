"""Draw where episodes of libero_spatial start: python scripts/show_placement.py placement.jpg

One column a task; the first row is an official init state, the others are held-out layouts of placement=wide.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works without an installed package

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from runners.assets import resolve_assets
from runners.envs.libero import make_libero_env
from runners.report.figures import figure_style

SUITE, NUM_TASKS, DPI = "libero_spatial", 10, 100
#: What all instructions of the suite begin and end with; a column is named by what lies between.
SAME = ("pick up the black bowl ", " and place it on the plate")


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--layouts", type=int, default=4, help="wide layouts of each task")
    parser.add_argument("--size", type=int, default=160, help="pixels of one scene")
    parser.add_argument("--assets", default="builtin")
    args = parser.parse_args()
    assets = resolve_assets(args.assets, suite=SUITE, render="fast")
    columns: list[list[NDArray[np.uint8]]] = []
    names: list[str] = []
    for task_id in range(NUM_TASKS):
        scenes = []
        for placement, count in (("official", 1), ("wide", args.layouts)):
            with closing(make_libero_env(SUITE, task_id, assets=assets, placement=placement)) as env:
                for init_index in range(count):
                    env.reset(init_index=init_index, seed=0)
                    scenes.append(env.observe(["agentview"]).images["agentview"])
                instruction = env.spec.instruction
        columns.append(scenes)
        names.append(f"{task_id} {instruction.removeprefix(SAME[0]).removesuffix(SAME[1])}")
    rows = ["official", *(f"wide {init_index}" for init_index in range(args.layouts))]
    with figure_style():
        draw(columns, names, rows, args.size).savefig(args.output, dpi=DPI)
    print(args.output)


def draw(columns: list[list[NDArray[np.uint8]]], names: list[str], rows: list[str], size: int) -> Figure:
    """Scenes of ``size`` pixels, uint8 [H, W, 3] each, by column and row, with a name above and beside them."""
    left, top = 24 / size, 54 / size  # for the names
    width, height = len(columns) + left, len(rows) + top
    figure = Figure(figsize=(width * size / DPI, height * size / DPI))
    for i, (scenes, name) in enumerate(zip(columns, names, strict=True)):
        for j, scene in enumerate(scenes):
            box = ((i + left) / width, (len(rows) - 1 - j) / height, 1 / width, 1 / height)
            axes = figure.add_axes(box)
            axes.imshow(scene, interpolation="antialiased", aspect="auto")
            axes.set_axis_off()
        words = "\n".join(textwrap.wrap(name, 22))
        figure.text((i + left) / width + 4 / (width * size), 1 - 4 / (height * size), words, fontsize=8.5, va="top")
    for j, row in enumerate(rows):
        middle = (len(rows) - 0.5 - j) / height
        figure.text(left / width / 2, middle, row, fontsize=8.5, rotation=90, ha="center", va="center")
    return figure


if __name__ == "__main__":
    main()
