"""Cache policies in closed loop on validation starts: how the numbers of a policy are chosen before a table is made.

    python scripts/compare_closed_loop.py --caches static_task adaptive adaptive:task_top_k=160
    python scripts/compare_closed_loop.py --caches adaptive --tasks 4 7 --first-start 20 --starts 30 --placements wide

The starts are in no table and no demonstration. Every episode is written at once to ``--output``; the same command
goes on from there, one with more caches, tasks or starts adds to it; other weights or code need another file. Prints
success, reuse, and what each policy lost and won against no cache, which is always played.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vlacache.bench.command import add_model_options, at_least, build_model, one_line_errors, parse_cache

DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "results" / "closed_loop" / "choice.jsonl"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_options(parser, dtype="bfloat16")
    parser.add_argument("--caches", nargs="+", required=True, help="names, or name:key=value,key=value")
    parser.add_argument("--suite", default="libero_spatial")
    parser.add_argument("--placements", nargs="+", choices=("official", "wide"), default=["official"])
    parser.add_argument("--tasks", type=at_least(0), nargs="+", default=list(range(10)))
    parser.add_argument(
        "--first-start",
        type=at_least(0),
        default=0,
        help="training selects by the first 3 to 10",
    )
    parser.add_argument("--starts", type=at_least(1), default=5, help="of each task and placement")
    parser.add_argument("--assets", default="builtin")
    parser.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, help="JSONL, a row an episode")
    return parser


def main() -> int:
    """Play and print: 0 done, 2 bad input, 130 interrupted."""
    args = build_parser().parse_args()
    with one_line_errors():
        try:
            print(compare(args))
        except KeyboardInterrupt:
            print("stopped; the same command goes on from here", file=sys.stderr)
            return 130
    return 0


def compare(args: argparse.Namespace) -> str:
    """Roll out what is missing and return the table."""
    from runners.build import accelerator_name
    from runners.closed_loop import validation_assets, validation_env
    from runners.identity import code_digest
    from runners.policy_choice import BASELINE, ChoiceFile, choice_table, play
    from vlacache.lock import FolderLock
    from vlacache.models.policy import CachedPolicy

    caches = {word: parse_cache(word) for word in dict.fromkeys([BASELINE, *args.caches])}
    assets = validation_assets(args.suite, args.assets)
    loaded = build_model(args)
    settings = {"suite": args.suite, "assets": assets.provenance.label, "code": code_digest()}
    settings |= {"model": loaded.info.name, "checkpoint": loaded.info.checkpoint, "dtype": loaded.info.dtype}
    settings["device"] = accelerator_name(args.device) or "cpu"
    args.output.parent.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(args.output.with_name(f".{args.output.name}.lock"), "give another --output")
    played = ChoiceFile(args.output, settings)
    arms = {word: CachedPolicy(loaded, cache) for word, cache in caches.items()}  # kept: graphs are captured once
    starts = range(args.first_start, args.first_start + args.starts)
    for placement in args.placements:
        make_env = partial(validation_env, args.suite, placement=placement, assets=assets, count=starts.stop)
        for row in play(args.suite, placement, make_env, arms, args.tasks, starts, played):
            outcome = "solved" if row.success else "failed"
            print(f"{placement} task {row.task} start {row.start} {row.cache}: {outcome}", file=sys.stderr, flush=True)
    lock.release()
    chosen = [row for row in played.rows if row.cache in caches and row.placement in args.placements]
    return choice_table([row for row in chosen if row.task in args.tasks and row.start in starts])


if __name__ == "__main__":
    sys.exit(main())
