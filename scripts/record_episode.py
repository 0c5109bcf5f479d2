"""Record LIBERO episodes for the scripts that need no simulator: what a model would have seen at every step.

    python scripts/record_episode.py                                           the episode in the repo (tiny_oft's own)
    python scripts/record_episode.py --model tiny_openvla --tasks 0 1 2 --output results/episodes

Episodes are a model's own, closed loop, or those of ``--model expert``. ``--output`` names a file (.npz) for one task,
else a folder.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from pathlib import Path

import numpy as np

if __package__ in (None, ""):  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runners.assets import resolve_assets
from runners.envs.base import Env, PrivilegedPolicy
from runners.envs.libero import make_libero_env
from runners.experts import build_expert
from vlacache.bench.command import add_model_options, build_model, one_line_errors
from vlacache.bench.episode import DEFAULT_EPISODE, RecordedEpisode
from vlacache.core.policies import build_cache_policy
from vlacache.models.policy import CachedPolicy
from vlacache.types import Policy

VIEWS = ("agentview", "wrist")


def record(env: Env, policy: Policy, init_index: int, source: str) -> tuple[RecordedEpisode, bool]:
    """Roll out one episode; both views of every step, and whether it ended in success."""
    if isinstance(policy, PrivilegedPolicy):
        policy.attach(env)
    step = env.reset(init_index=init_index, seed=0)
    policy.reset(0)
    frames, proprio, queue = [], [], deque[np.ndarray]()
    while not step.done:
        observation = env.observe(VIEWS)
        frames.append(np.stack([observation.images[view] for view in VIEWS]))
        proprio.append(observation.proprio)
        if not queue:
            queue.extend(policy.infer(observation).actions[: policy.num_open_loop_steps])
        step = env.step(queue.popleft())
    return RecordedEpisode(VIEWS, np.stack(frames), np.stack(proprio), env.spec.instruction, source), step.success


def build_policy(args: argparse.Namespace) -> tuple[Policy, str]:
    """Who acts, and what the record calls it."""
    if args.model == "expert":
        return build_expert(args.suite), "scripted expert"
    loaded = build_model(args)
    return CachedPolicy(loaded, build_cache_policy("none")), f"{loaded.info.checkpoint} in {loaded.info.dtype}"


def file_of(args: argparse.Namespace, task: int) -> Path:
    """Where an episode goes.

    Raises:
        ValueError: several episodes for one file.
    """
    if args.output.suffix != ".npz":
        return args.output / f"{args.suite}_{args.model}_t{task:02d}_i{args.init_index:03d}.npz"
    if len(args.tasks) > 1:
        raise ValueError(f"--output: expected a folder for {len(args.tasks)} tasks, got {args.output.name}")
    return args.output


def main() -> None:
    """Roll out and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_options(parser)
    parser.set_defaults(model="tiny_oft")
    parser.add_argument("--suite", default="libero_spatial")
    parser.add_argument("--placement", default="official", choices=["official", "wide"])
    parser.add_argument("--tasks", type=int, nargs="+", default=[0])
    parser.add_argument("--init-index", type=int, default=0)
    parser.add_argument("--output", type=Path, default=DEFAULT_EPISODE, help="file or folder")
    args = parser.parse_args()
    with one_line_errors():
        files = {task: file_of(args, task) for task in args.tasks}
        assets = resolve_assets("builtin", suite=args.suite, render="fast")
        policy, who = build_policy(args)
        for task, file in files.items():
            env = make_libero_env(args.suite, task, assets=assets, placement=args.placement)
            where = f"{args.suite} task {task} init {args.init_index}, {args.placement}, {assets.provenance.label}"
            episode, success = record(env, policy, args.init_index, f"{where}, {who}")
            env.close()
            episode.save(file)
            print(f"{file.name}: {len(episode.frames)} steps, success {success}, {file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
