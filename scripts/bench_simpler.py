"""What a control step and a picture of SIMPLER cost, what a step costs over its bare physics, and whether memory grows.

    python scripts/bench_simpler.py --episodes 24                   # WidowX: task 0
    python scripts/bench_simpler.py --suite simpler_google_vm       # Google robot: a task of each kind

Milliseconds, each first in processor time of all threads, which a busy machine changes little, then in wall time.
What is not physics is timed with the same actions and a physics step that does nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import psutil

from runners.assets.maniskill import resolve_maniskill
from runners.envs.simpler.runtime import prepare

if TYPE_CHECKING:  # imports SAPIEN, for which prepare() chooses the driver
    from runners.envs.simpler.env import SimplerEnv

#: Tasks that are timed unless others are named: one of each kind.
TASKS = {"simpler_widowx": [0], "simpler_google_vm": [0, 3, 4, 10]}
HEADER = ("task", "bare physics", "control step", "over it", "picture", "step with picture")


class Cost(NamedTuple):
    """Milliseconds: mean processor time, and median wall time, which an interruption does not move."""

    processor: float
    wall: float

    def __str__(self) -> str:
        return f"{self.processor:.1f} ({self.wall:.1f})"


class Stopped:
    """A scene whose physics stands still."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene

    def step(self) -> None:
        """Nothing happens."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scene, name)


def main() -> None:
    """Parse the command line, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="simpler_widowx", choices=sorted(TASKS))
    parser.add_argument("--tasks", type=int, nargs="+", help="ids (default: one of each kind)")
    parser.add_argument("--assets", default="auto", help="auto or a folder (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=50, help="timed control steps (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=0, help="episodes for the memory test (default: none)")
    args = parser.parse_args()
    if args.steps < 1 or (args.episodes and args.episodes < 4):
        parser.error("expected --steps of 1 or more and --episodes of 4 or more")
    print(prepare())
    from runners.envs.simpler.suites import make_simpler_env

    assets = resolve_maniskill(args.assets)
    rows, memory = [], []
    for task in args.tasks or TASKS[args.suite]:
        env = make_simpler_env(args.suite, task, assets=assets, max_steps=10**6, success_rule="final_step")
        rows.append((str(task), *costs(env, args.steps)))
        if args.episodes:
            memory.append(f"task {task}, {memory_words(resident_memory(env, args.episodes))}")
        env.close()
    print(f"{args.suite}; ms: processor time (wall time)")
    for row in (HEADER, ("---",) * len(HEADER), *rows):
        print("| " + " | ".join(row) + " |")
    for line in memory:
        print(line)


def costs(env: SimplerEnv, num_steps: int) -> tuple[str, ...]:
    """The cells of a row after the task."""
    env.reset(init_index=0, seed=0)
    camera = env.spec.cameras[0]
    env.observe([camera])  # the first picture of a process takes seconds
    actions = random_actions(num_steps)
    step = cost(env.step, actions)
    picture = cost(lambda _: env.observe([camera]), actions[:20])
    env.reset(init_index=0, seed=0)
    episode = env.privileged()
    episode.scene = Stopped(episode.scene)
    around = cost(env.step, actions)
    bare = Cost(*(whole - part for whole, part in zip(step, around, strict=True)))
    both = Cost(*map(sum, zip(step, picture, strict=True)))
    return str(bare), str(step), f"{around.processor / bare.processor:.1%}", str(picture), str(both)


def random_actions(count: int) -> list[np.ndarray]:
    """Small moves, the gripper to and fro."""
    rng = np.random.default_rng(0)
    return [
        np.concatenate([rng.uniform(-0.02, 0.02, 3), rng.uniform(-0.05, 0.05, 3), [1.0 if step % 10 < 5 else -1.0]])
        for step in range(count)
    ]


def cost(call: Callable[[np.ndarray], object], actions: list[np.ndarray]) -> Cost:
    """Of one call, over ``actions``."""
    processor, wall = [], []
    for action in actions:
        begun = time.process_time(), time.perf_counter()
        call(action)
        processor.append(1e3 * (time.process_time() - begun[0]))
        wall.append(1e3 * (time.perf_counter() - begun[1]))
    return Cost(mean(processor), median(wall))


def resident_memory(env: SimplerEnv, num_episodes: int) -> list[float]:
    """MB after each of some short episodes with pictures, layouts 0, 1, 2 ..."""
    process, sizes = psutil.Process(), []
    for episode in range(num_episodes):
        env.reset(init_index=episode % env.spec.num_init_states, seed=0)
        for _ in range(5):
            env.step(np.zeros(7))
            env.observe(env.spec.cameras)
        sizes.append(process.memory_info().rss / 1e6)
    return sizes


def memory_words(sizes: list[float]) -> str:
    """Every size, and growth after the third episode."""
    listed = " ".join(f"{size:.0f}" for size in sizes)
    growth = f"after the last against the third: {sizes[-1] / sizes[2] - 1:+.1%}"
    return f"resident memory after each episode, MB: {listed}; {growth}"


if __name__ == "__main__":
    main()
