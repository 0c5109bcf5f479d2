"""Record an expert episode for the benchmark: python scripts/record_episode.py --task 0 --init-index 0"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from runners.assets import resolve_assets
from runners.envs.libero import make_libero_env
from runners.experts import build_expert
from vlacache.bench.episode import DEFAULT_EPISODE, RecordedEpisode

VIEWS = ("agentview", "wrist")


def main() -> None:
    """Roll out the scripted expert and keep what a model would have seen at every step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", default="libero_spatial")
    parser.add_argument("--task", type=int, default=0)
    parser.add_argument("--init-index", type=int, default=0)
    parser.add_argument("--output", type=Path, default=DEFAULT_EPISODE)
    args = parser.parse_args()
    assets = resolve_assets("builtin", suite=args.suite, render="fast")
    env, expert = make_libero_env(args.suite, args.task, assets=assets), build_expert(args.suite)
    expert.attach(env)
    step = env.reset(init_index=args.init_index, seed=0)
    expert.reset(0)
    frames, proprio = [], []
    while not step.done:
        observation = env.observe(VIEWS)
        frames.append(np.stack([observation.images[view] for view in VIEWS]))
        proprio.append(observation.proprio)
        step = env.step(expert.infer(observation).actions[0])
    source = f"{args.suite} task {args.task} init {args.init_index}, {assets.provenance.label}, scripted expert"
    episode = RecordedEpisode(VIEWS, np.stack(frames), np.stack(proprio), env.spec.instruction, source)
    episode.save(args.output)
    env.close()
    print(f"{args.output.name}: {len(frames)} steps, success {step.success}, {args.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
