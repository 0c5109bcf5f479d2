"""How far cache policies move a model's actions, on recorded observations; finds a broken cache without a simulator.

    python scripts/replay_fidelity.py                                      tiny_oft, the episode in the repo
    python scripts/replay_fidelity.py --cache adaptive fixed_ratio:reuse_ratio=0.4 --episodes a.npz b.npz
    python scripts/replay_fidelity.py --model openvla --checkpoint FOLDER --unnorm-key libero_spatial --device cuda

The same observations go through the dense path and through each policy (teacher forcing). First every picture is shown
twice: a right cache then changes nothing, whatever it reuses. Exit code 1 if a cache fails that, 2 for bad input; 0
also where a cache reused nothing, so that there is no verdict about it (the table says so). Episodes are recorded with
scripts/record_episode.py. Writes JSON and prints a table.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vlacache.bench.benchmark import today
from vlacache.bench.command import (
    add_model_options,
    at_least,
    at_least_zero,
    build_model,
    check_output,
    one_line_errors,
    parse_cache,
    shown_command,
)
from vlacache.bench.episode import DEFAULT_EPISODE, RecordedEpisode, load_episodes
from vlacache.bench.fidelity import Fidelity, Replay, StillCheck, check_still, compare, replay
from vlacache.bench.fidelity_table import fidelity_table, still_table
from vlacache.bench.phases import phases_of
from vlacache.core.policies import build_cache_policy
from vlacache.models.factory import LoadedModel
from vlacache.models.policy import CachedPolicy

CACHES = (
    "adaptive",
    "adaptive:carry_shift=false",
    "paper",
    "official",
    "static",
    "static_task",
    "fixed_ratio:reuse_ratio=0.4",
)
#: Largest difference, in units of the action, that float32 rounding explains.
FLOAT32_TOLERANCE = 1e-4


def run(
    loaded: LoadedModel, words: list[str], episodes: list[RecordedEpisode], calls: int | None, tolerance: float
) -> tuple[list[Fidelity], list[StillCheck]]:
    """Replay every episode through every policy."""
    dense = CachedPolicy(loaded, build_cache_policy("none"))
    recorded = [e.observations(loaded.num_open_loop_steps, loaded.info.views)[:calls] for e in episodes]
    limit = FLOAT32_TOLERANCE if loaded.info.dtype == "float32" else None
    results, checks = [], []
    for word in words:
        policy = CachedPolicy(loaded, parse_cache(word))
        checks.append(check_still(word, dense, policy, recorded[0], limit))
        replays: list[Replay] = [
            replay(dense, policy, observations, phases_of(episode.proprio))
            for episode, observations in zip(episodes, recorded, strict=True)
        ]
        results.append(compare(word, replays, tolerance))
    return results, checks


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_options(parser, dtype="float32")
    parser.add_argument("--cache", nargs="+", default=list(CACHES), help="names, or name:key=value,key=value")
    parser.add_argument("--episodes", nargs="+", type=Path, default=[DEFAULT_EPISODE], help="files or folders")
    parser.add_argument("--calls", type=at_least(1), default=None, help="at most so many policy calls of an episode")
    parser.add_argument("--tolerance", type=at_least_zero, default=0.01, help="a call beyond it has diverged")
    parser.add_argument("--output", type=Path, default=None, help="JSON; default: results/fidelity/<model>.json")
    return parser


def main() -> int:
    """Replay, print, write; 1 if a cache is broken."""
    args = build_parser().parse_args()
    with one_line_errors():
        check_output(args.output)
        episodes = load_episodes(args.episodes)
        loaded = build_model(args)
        results, checks = run(loaded, args.cache, episodes, args.calls, args.tolerance)
        info = loaded.info
        sources = [episode.source for episode in episodes]
        print(f"{info.name} ({info.weights} weights, {info.checkpoint}, {info.dtype}); {'; '.join(sources)}")
        print(f"{still_table(checks)}\n\n{fidelity_table(results)}")
        output = args.output or Path(__file__).resolve().parent.parent / "results" / "fidelity" / f"{info.name}.json"
        about = {"model": asdict(info), "episodes": sources, "command": shown_command(sys.argv), "date": today()}
        write(output, about, results, checks)
        print(f"\nwritten: {output.name} in {output.parent.name}/")
    return int(any(check.passed is False for check in checks))


def write(path: Path, about: dict[str, Any], results: list[Fidelity], checks: list[StillCheck]) -> None:
    """Store both tables."""
    path.parent.mkdir(parents=True, exist_ok=True)
    still = [{**asdict(check), "passed": check.passed} for check in checks]
    data = {"schema_version": 1, **about, "still": still, "fidelity": [asdict(result) for result in results]}
    path.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
