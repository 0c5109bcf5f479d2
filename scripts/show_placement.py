"""Draw where episodes of libero_spatial start: python scripts/show_placement.py placement.jpg

One column a task; the first row is an official init state, the others are held-out layouts of placement=wide.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works without an installed package

import numpy as np
from PIL import Image

from runners.assets import resolve_assets
from runners.envs.libero import make_libero_env

SUITE, NUM_TASKS = "libero_spatial", 10


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--layouts", type=int, default=4, help="wide layouts of each task")
    parser.add_argument("--size", type=int, default=160, help="pixels of one scene")
    parser.add_argument("--assets", default="builtin")
    args = parser.parse_args()
    assets = resolve_assets(args.assets, suite=SUITE, render="fast")
    columns = []
    for task_id in range(NUM_TASKS):
        scenes = []
        for placement, count in (("official", 1), ("wide", args.layouts)):
            with closing(make_libero_env(SUITE, task_id, assets=assets, placement=placement)) as env:
                for init_index in range(count):
                    env.reset(init_index=init_index, seed=0)
                    scenes.append(_scaled(env.observe(["agentview"]).images["agentview"], args.size))
        columns.append(np.vstack(scenes))
    picture = Image.fromarray(np.hstack(columns))
    picture.save(args.output)
    print(f"{args.output}: {picture.width} x {picture.height}")


def _scaled(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))


if __name__ == "__main__":
    main()
