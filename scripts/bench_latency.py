"""Latency on a recorded episode: the official script's way of running a model, ours, and every cache policy.

    python scripts/bench_latency.py                                     tiny_oft, the episode in the repo
    python scripts/bench_latency.py --model openvla_oft --random-weights --device cuda
    python scripts/bench_latency.py --model openvla --checkpoint FOLDER --unnorm-key libero_spatial --calls 20
    python scripts/bench_latency.py --model cogact --random-weights --scale tiny --repeats 2      on any machine

The rungs: eager+attentions (what the official script runs) > eager > dense (ours) > policy at 0 (decides, reuses
nothing) > policy. All run in one process and are called in turn on the same frames; the first repetitions are thrown
away. Needs torch, timm, tokenizers, safetensors, huggingface_hub and numpy from an uninstalled checkout; no simulator,
no Hydra, no network. --random-weights builds the published 7B shapes without a checkpoint; relevance and schedule then
come from a trace (scripts/record_cache_trace.py), because attention of random weights means nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):  # run from a checkout that is not installed, as on a lent machine
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vlacache.bench.benchmark import Benchmark, run_benchmark
from vlacache.bench.command import (
    add_model_options,
    add_random_options,
    at_least,
    build_model,
    check_device,
    check_output,
    one_line_errors,
    parse_variants,
    shown_command,
)
from vlacache.bench.episode import DEFAULT_EPISODE, RecordedEpisode
from vlacache.bench.ladder import SCRIPT, arm_names, choose_names
from vlacache.bench.memory import ladder_memory
from vlacache.bench.names import BENCH_FOLDER, result_name, slug
from vlacache.bench.trace import DEFAULT_TRACE, AttentionTrace
from vlacache.models.factory import LoadedModel

#: Options that make another measurement, so that their results lie in files of their own.
NAMED = ("dtype", "option", "episode", "trace", "compare", "arms", "calls")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_options(parser)
    add_random_options(parser)
    parser.add_argument("--episode", type=Path, default=DEFAULT_EPISODE)
    parser.add_argument("--trace", default="auto", help="file; none: live attention; auto: the repo's, if untrained")
    parser.add_argument(
        "--compare", action="append", default=[], metavar="KEY=VALUE", help="one more dense rung, so run"
    )
    parser.add_argument("--arms", default=None, help="comma separated; default: all")
    parser.add_argument("--calls", type=at_least(2), default=None, help="at most so many policy calls, from the start")
    parser.add_argument("--repeats", type=at_least(1), default=20, help="timed repetitions of the episode")
    parser.add_argument("--warmup", type=at_least(0), default=2, help="repetitions thrown away")
    parser.add_argument("--output", type=Path, default=None, help="JSON; default: in results/bench/")
    return parser


def choose_trace(choice: str, loaded: LoadedModel, episode: str) -> AttentionTrace | None:
    """The trace of the command line; ``auto`` takes the repo's for untrained weights, where there is one.

    Raises:
        ValueError: ``auto``, and the repo's trace is of another episode than ``episode``.
    """
    if choice == "none" or (choice == "auto" and (loaded.info.weights != "untrained" or not DEFAULT_TRACE.is_file())):
        return None
    trace = AttentionTrace.load(DEFAULT_TRACE if choice == "auto" else Path(choice))
    if choice == "auto" and trace.source.episode != episode:
        raise ValueError(
            f"--trace: expected one of the episode ({episode}), the repository's is of {trace.source.episode}; record "
            "one with scripts/record_cache_trace.py, or name a file, or none"
        )
    return trace


def default_output(benchmark: Benchmark, args: argparse.Namespace) -> Path:
    """``results/bench/<model>[_random_<scale> ...][_<option>_<value> ...]_<device>.json`` of this checkout."""
    name = result_name(benchmark.model, args, build_parser(), NAMED)
    return BENCH_FOLDER / f"{name}_{slug(str(benchmark.machine['device']))}.json"


def run(args: argparse.Namespace) -> Benchmark:
    """Load what the command line names and measure it."""
    check_device(args.device)
    variants = parse_variants(args.compare, args.model, args.device)
    only = None if args.arms is None else [name.strip() for name in args.arms.split(",")]
    arms = choose_names(arm_names(variants), only)
    episode = RecordedEpisode.load(args.episode)
    loaded = build_model(args, ladder_memory(len(arms), has_maps=SCRIPT in arms))
    trace = choose_trace(args.trace, loaded, episode.source)
    observations = episode.observations(loaded.num_open_loop_steps, loaded.info.views)[: args.calls]
    print(
        f"measuring {len(arms)} arms of {loaded.info.name} on {args.device}: {len(observations)} calls each, "
        f"{args.warmup} + {args.repeats} times",
        flush=True,
    )
    return run_benchmark(
        loaded,
        observations,
        episode=episode.source,
        trace=trace,
        repeats=args.repeats,
        only=only,
        variants=variants,
        warmup=args.warmup,
        command=shown_command(sys.argv),
    )


def main() -> None:
    """Measure, print, write."""
    args = build_parser().parse_args()
    with one_line_errors():
        check_output(args.output)
        benchmark = run(args)
        print(benchmark.show())
        output = args.output or default_output(benchmark, args)
        benchmark.write(output)
        print(f"\nwritten: {output.name} in {output.parent.name}/")


if __name__ == "__main__":
    main()
