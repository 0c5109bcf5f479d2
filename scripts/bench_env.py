"""What a control step and a picture of LIBERO cost: robosuite's own step loop against ours, interleaved, one process.

python scripts/bench_env.py --suite libero_spatial --task 0 --steps 100
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from runners.assets import resolve_assets
from runners.envs.libero import CAMERAS, make_libero_env


def main() -> None:
    """Parse the command line, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="libero_spatial")
    parser.add_argument("--task", type=int, default=0)
    parser.add_argument("--assets", default="builtin", help="builtin, auto or a folder (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="timed control steps (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=20, help="timed pictures per camera (default: %(default)s)")
    args = parser.parse_args()

    rows = step_times(args.suite, args.task, args.assets, args.steps)
    for render in ("fast", "reference"):
        rows |= frame_times(args.suite, args.task, args.assets, args.frames, render)
    print(f"{args.suite} task {args.task}, assets {args.assets}, MuJoCo picture 256 x 256; ms per call")
    print(f"{'':<34}{'median':>8}{'p90':>8}{'n':>6}")
    for name, times in rows.items():
        deciles = statistics.quantiles(times, n=10)
        print(f"{name:<34}{statistics.median(times):>8.2f}{deciles[8]:>8.2f}{len(times):>6}")


def step_times(suite: str, task: int, assets: str, num_steps: int) -> dict[str, list[float]]:
    """Milliseconds of one control step without a picture, by both loops, on the same actions."""
    resolved = resolve_assets(assets, suite=suite, render="fast")
    ours = make_libero_env(suite, task, assets=resolved, max_steps=num_steps)
    theirs = make_libero_env(suite, task, assets=resolved, max_steps=num_steps)
    robosuite_env = theirs._robosuite_env()
    actions = np.random.default_rng(0).uniform(-1, 1, size=(num_steps, 7))
    times: dict[str, list[float]] = {"step, robosuite's loop": [], "step, ours": []}
    for env in (ours, theirs):
        env.reset(init_index=0, seed=0)
    robosuite_env.sim.model._model.opt.disableflags = 0  # ours switches force sensors off; robosuite computes them
    for action in actions:
        times["step, robosuite's loop"].append(milliseconds(robosuite_env.step, action))
        times["step, ours"].append(milliseconds(ours.step, action))
    same = np.array_equal(robosuite_env.sim.data.qpos, ours.privileged().data.qpos)
    print(f"after {num_steps} steps of random actions both loops stand at the same joint positions, bit by bit: {same}")
    ours.close()
    theirs.close()
    return times


def frame_times(suite: str, task: int, assets: str, num_frames: int, render: str) -> dict[str, list[float]]:
    """Milliseconds of one picture of each camera in one render mode."""
    resolved = resolve_assets(assets, suite=suite, render=render)
    env = make_libero_env(suite, task, assets=resolved, render=render)
    env.reset(init_index=0, seed=0)
    env.observe(tuple(CAMERAS))  # builds the framebuffer
    times = {
        f"picture, {camera}, {render}": [milliseconds(env.observe, (camera,)) for _ in range(num_frames)]
        for camera in CAMERAS
    }
    env.close()
    return times


def milliseconds(function: Callable[..., Any], *args: Any) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function(*args)
    return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    main()
