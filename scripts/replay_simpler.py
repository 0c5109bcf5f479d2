"""Replay recordings of the original SIMPLER simulator here and print how far the two come apart.

VLACACHE_ORACLES_DIR=<folder> python scripts/replay_simpler.py                  # every recording that a suite has
VLACACHE_ORACLES_DIR=<folder> python scripts/replay_simpler.py carrot egg_00    # those whose names begin so
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runners.assets.maniskill import resolve_maniskill
from runners.envs.simpler.runtime import prepare

if TYPE_CHECKING:  # imports SAPIEN, for which prepare() chooses the driver
    from runners.envs.simpler.replay import Replay


def main() -> None:
    """Parse the command line, replay, print the table; exit code 1 when a tolerance is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="beginnings of the recordings' names (default: all)")
    parser.add_argument("--assets", default="auto", help="as the key assets (default: %(default)s)")
    args = parser.parse_args()
    place = os.environ.get("VLACACHE_ORACLES_DIR")
    if not place:
        parser.error("VLACACHE_ORACLES_DIR is not set: name the folder that holds simpler/episodes")
    try:
        replays = play(Path(place) / "simpler/episodes", args.names, args.assets)
    except (ValueError, RuntimeError) as error:
        parser.error(str(error))
    sys.exit(print_table(replays))


def play(folder: Path, names: Sequence[str], assets: str) -> list[Replay]:
    """Replay the recordings of ``folder`` whose names begin with one of ``names``, or all.

    Raises:
        ValueError: there are none. RuntimeError: assets or a package are missing.
    """
    prepare()
    from runners.envs.simpler.recorded_layouts import RECORDED_FAMILIES, start_recorded
    from runners.envs.simpler.replay import read_recording, replay

    root = resolve_maniskill(assets).root
    paths = [path for path in sorted(folder.glob("*.npz")) if path.name.startswith(tuple(names or RECORDED_FAMILIES))]
    if not paths:
        raise ValueError(f"{folder}: no recordings of {', '.join(names or RECORDED_FAMILIES)}")
    replays = []
    for path in paths:
        recording = read_recording(path)
        replays.append(replay(recording, start_recorded(recording, root)))
    return replays


def print_table(replays: Sequence[Replay]) -> int:
    """Markdown, one row a recording and one for all; 1 when a tolerance is missed, else 0."""
    from runners.envs.simpler.replay import EQUAL_SHARE, FREE_ANGLE, FREE_DISTANCE

    print("| recording | steps | in free space | tool, mm | tool, deg | flags, last step | steps with equal flags |")
    print("|---|---|---|---|---|---|---|")
    for one in replays:
        last = "equal" if one.equal[-1] else ", ".join(name for name, same in one.flags.items() if not same[-1])
        print(
            f"| {one.name} | {len(one.equal)} | {one.num_free} | {1e3 * one.free_distance:.3f} | {one.free_angle:.3f} "
            f"| {last} | {int(one.equal.sum())} |"
        )
    steps, equal = sum(len(one.equal) for one in replays), sum(int(one.equal.sum()) for one in replays)
    last_equal = sum(bool(one.equal[-1]) for one in replays)
    distance, angle = max(one.free_distance for one in replays), max(one.free_angle for one in replays)
    print(
        f"| all {len(replays)} | {steps} | {sum(one.num_free for one in replays)} | {1e3 * distance:.3f} | {angle:.3f} "
        f"| {last_equal} of {len(replays)} equal | {equal} ({equal / steps:.2%}) |"
    )
    fits = distance <= FREE_DISTANCE and angle <= FREE_ANGLE
    return 0 if fits and last_equal == len(replays) and equal >= EQUAL_SHARE * steps else 1


if __name__ == "__main__":
    main()
