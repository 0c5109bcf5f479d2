"""Time a Google robot control step: all of it, and what is not its 171 physics substeps.

    python scripts/bench_simpler_google.py     # tasks 0, 3, 4 and 10 of simpler_google_vm

The second number comes from the same actions with a physics step that does nothing. Processor time, so that other jobs
on the machine count little.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from runners.assets.maniskill import resolve_maniskill
from runners.envs.simpler.runtime import prepare

NUM_STEPS = 60


class Stopped:
    """A scene that stands still."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene  # its bodies live as long as it does
        self.physx_system = scene.physx_system

    def step(self) -> None:
        """Nothing happens."""


def main() -> None:
    """Parse the command line, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[0, 3, 4, 10], help="ids (default: %(default)s)")
    parser.add_argument("--assets", default="auto", help="as the key assets (default: %(default)s)")
    args = parser.parse_args()
    prepare()
    from runners.envs.simpler.google import make_google_env

    assets = resolve_maniskill(args.assets)
    print("| task | reset, ms | control step, ms | its physics, ms | over it |")
    print("|---|---|---|---|---|")
    for task in args.tasks:
        env = make_google_env("simpler_google_vm", task, assets=assets, max_steps=2 * NUM_STEPS)
        env.reset(init_index=0, seed=0)  # loads the meshes
        begun = time.process_time()
        env.reset(init_index=0, seed=0)
        reset = time.process_time() - begun
        whole = _time_steps(env)
        episode = env.privileged()
        episode.scene = Stopped(episode.scene)
        around = _time_steps(env)
        bare = whole - around
        print(f"| {task} | {1e3 * reset:.0f} | {1e3 * whole:.2f} | {1e3 * bare:.2f} | {around / bare:.1%} |")
        env.close()


def _time_steps(env: Any) -> float:
    """Mean processor seconds of a control step with random commands."""
    rng = np.random.default_rng(0)
    begun = time.process_time()
    for step in range(NUM_STEPS):
        gripper = 1.0 if step % 10 < 5 else -1.0
        env.step(np.concatenate([rng.uniform(-0.02, 0.02, 3), rng.uniform(-0.05, 0.05, 3), [gripper]]))
    return (time.process_time() - begun) / NUM_STEPS


if __name__ == "__main__":
    main()
