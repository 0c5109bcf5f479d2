"""Record demonstrations of the scripted expert: python scripts/collect_demos.py --placement wide --demos-per-task 200

The same command goes on where it was stopped; more --demos-per-task add to what is there. See docs/demonstrations.md.

Exit codes: 0 all demos are there; 2 an error that is told in one line; 3 some demos were left out,
because no start of theirs succeeded, and all others are there; 130 stopped. 1 is Python's own, for a crash.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works without an installed package

from runners.demos.collect import Collection, collect
from runners.demos.episode import JITTERS, Recording
from runners.demos.noise import NoiseSettings
from runners.demos.outcome import describe_failures
from runners.envs.libero_tasks import LIBERO_SUITES
from runners.interrupts import sigterm_as_interrupt
from runners.suite_names import NUM_TASKS

INCOMPLETE = 3


def main() -> int:
    """Collect, print the cost; the exit code as above."""
    arguments = _parse()
    root = arguments.output
    if root is None:
        root = Path("results") / "demos" / f"{arguments.suite}-{arguments.placement}-s{arguments.seed}"
    try:
        with sigterm_as_interrupt():
            collection = _collection(arguments)
            cost = collect(collection, root, workers=arguments.workers)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    if cost.num_attempts:
        print(f"{root}: {cost.describe()}")
    else:
        there = collection.num_demos - len(cost.given_up)
        print(f"{root}: {there} of {collection.num_demos} demos there, nothing to do")
    if cost.given_up:
        print(
            f"error: incomplete: {describe_failures(collection.suite, collection.seed, cost.given_up)}", file=sys.stderr
        )
        return INCOMPLETE
    return 0


def _collection(arguments: argparse.Namespace) -> Collection:
    suite = arguments.suite
    noise = NoiseSettings(arguments.noise, arguments.rotation_noise)
    return Collection(
        suite=suite,
        tasks=tuple(range(NUM_TASKS[suite]) if arguments.tasks is None else arguments.tasks),
        demos_per_task=arguments.demos_per_task,
        seed=arguments.seed,
        placement=arguments.placement,
        assets=arguments.assets,
        render=arguments.render,
        novice=arguments.novice,
        recording=Recording(arguments.frame_stride, LIBERO_SUITES[suite], noise, tuple(arguments.jitter)),
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=sorted(LIBERO_SUITES), default="libero_spatial")
    parser.add_argument("--placement", choices=("official", "wide"), default="official")
    parser.add_argument("--tasks", type=int, nargs="+", help="task ids; all of the suite by default")
    parser.add_argument("--demos-per-task", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other demonstrations")
    parser.add_argument("--output", type=Path, help="folder; results/demos/<suite>-<placement>-s<seed> by default")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--assets", default="builtin", help="builtin, auto or a folder, as for run.py")
    parser.add_argument("--render", choices=("fast", "reference"), default="fast")
    parser.add_argument("--frame-stride", type=int, default=3, help="env steps between two rows with pictures")
    parser.add_argument("--noise", type=float, default=NoiseSettings().translation, help="largest std of translation")
    parser.add_argument("--rotation-noise", type=float, default=NoiseSettings().rotation)
    parser.add_argument(
        "--jitter",
        nargs="*",
        choices=JITTERS,
        default=[],
        help="drawn anew for each demo: looks; where fixtures stand apart from the objects, as in official episodes",
    )
    parser.add_argument(
        "--novice",
        metavar="WHO",
        help="astray (the expert, mistaken), builtin (tiny_oft) or a checkpoint folder: it acts first, "
        "the expert shows the way back",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
