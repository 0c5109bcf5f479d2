"""What a control step and a picture of SIMPLER cost, and whether memory grows over many episodes of one process.

python scripts/bench_simpler.py --suite simpler_widowx --task 0 --episodes 24
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import psutil

from runners.assets.maniskill import resolve_maniskill
from runners.envs.simpler.runtime import prepare

if TYPE_CHECKING:  # imports SAPIEN, for which prepare() chooses the driver
    from runners.envs.simpler.env import SimplerEnv


def main() -> None:
    """Parse the command line, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="simpler_widowx")
    parser.add_argument("--task", type=int, default=0)
    parser.add_argument("--assets", default="auto", help="auto or a folder (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=50, help="timed control steps (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=0, help="episodes for the memory test (default: none)")
    args = parser.parse_args()
    print(prepare())
    from runners.envs.simpler.suites import make_simpler_env

    env = make_simpler_env(
        args.suite, args.task, assets=resolve_maniskill(args.assets), max_steps=10**6, success_rule="final_step"
    )
    rows = step_times(env, args.steps)
    print(f"{args.suite} task {args.task}; ms per call")
    print(f"{'':<42}{'median':>8}{'p90':>8}{'n':>6}")
    for name, times in rows.items():
        print(f"{name:<42}{statistics.median(times):>8.2f}{statistics.quantiles(times, n=10)[8]:>8.2f}{len(times):>6}")
    bare, step = (statistics.median(rows[name]) for name in ("bare physics steps of a control step", "control step"))
    print(f"a control step costs {step / bare - 1:.1%} more than its bare physics steps")
    if args.episodes:
        sizes = memory(env, args.episodes)
        print("resident memory after each episode, MB:", " ".join(f"{size:.0f}" for size in sizes))
        print(f"after the last against after the third: {sizes[-1] / sizes[2] - 1:+.1%}")


def step_times(env: SimplerEnv, num_steps: int) -> dict[str, list[float]]:
    """Milliseconds of the parts of a step, interleaved, on one episode of small random actions."""
    env.reset(init_index=0, seed=0)
    episode = env.privileged()
    camera = env.spec.cameras[0]
    env.observe([camera])  # the first picture of a process takes seconds
    rng = np.random.default_rng(0)
    times: dict[str, list[float]] = {
        name: []
        for name in ("bare physics steps of a control step", "control step", "picture", "control step with a picture")
    }
    for _ in range(num_steps):
        action = np.concatenate([rng.uniform(-0.005, 0.005, 3), rng.uniform(-0.02, 0.02, 3), [1.0]])
        times["bare physics steps of a control step"].append(milliseconds(lambda: bare(episode)))
        step = milliseconds(lambda action=action: env.step(action))
        picture = milliseconds(lambda: env.observe([camera]))
        for name, value in zip(list(times)[1:], (step, picture, step + picture), strict=True):
            times[name].append(value)
    return times


def bare(episode: object) -> None:
    """The physics steps of a control step and nothing else."""
    scene = episode.scene
    for _ in range(episode.recipe.substeps):
        scene.step()


def memory(env: SimplerEnv, num_episodes: int) -> list[float]:
    """Resident memory in MB after each of some short episodes with pictures."""
    process, sizes = psutil.Process(), []
    for episode in range(num_episodes):
        env.reset(init_index=episode % env.spec.num_init_states, seed=0)
        for _ in range(5):
            env.step(np.zeros(7))
            env.observe(env.spec.cameras)
        sizes.append(process.memory_info().rss / 1e6)
    return sizes


def milliseconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
