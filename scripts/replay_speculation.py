"""Acceptance length and exactness of speculative decoding on recorded episodes, without a simulator.

    python scripts/record_episode.py --model tiny_openvla --tasks 0 1 2 3 4 --output results/episodes
    python scripts/replay_speculation.py --episodes results/episodes

The first line rolls the model out in LIBERO and keeps what it saw; the second shows that to plain and to speculative
decoding. Every model with action tokens is taken; it answers in float32 and in its own dtype. Writes JSON and a table.
Exit code 1 if an answer in float32 is not the plain one, 2 for bad input.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vlacache.bench.benchmark import machine, today
from vlacache.bench.command import (
    add_model_options,
    at_least,
    build_model,
    check_device,
    check_output,
    one_line_errors,
    parse_cache,
    shown_command,
)
from vlacache.bench.episode import DEFAULT_EPISODE, load_episodes
from vlacache.bench.names import BENCH_FOLDER, result_name, slug
from vlacache.bench.speculation import SpeculationReport, compare_decoding

#: Options that make another replay. ``episodes`` is none of them: which were replayed is in the file.
NAMED = ("option", "cache", "calls")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_options(parser)
    parser.set_defaults(model="tiny_openvla")
    parser.add_argument("--cache", nargs="+", default=["none", "adaptive"], help="names, or name:key=value,key=value")
    parser.add_argument("--episodes", nargs="+", type=Path, default=[DEFAULT_EPISODE], help="files or folders")
    # The first call of an episode has no draft.
    parser.add_argument("--calls", type=at_least(2), default=None, help="at most so many policy calls of an episode")
    parser.add_argument("--output", type=Path, default=None, help="JSON; default: in results/bench/")
    return parser


def default_output(report: SpeculationReport, args: argparse.Namespace) -> Path:
    """``results/bench/speculation_<model>[_untrained][_<option>_<value> ...][_<GPU>].json`` of this checkout."""
    device = check_device(args.device)
    gpu = f"_{slug(machine(device)['device'])}" if device.type == "cuda" else ""
    return BENCH_FOLDER / f"speculation_{result_name(report.model, args, build_parser(), NAMED)}{gpu}.json"


def run(args: argparse.Namespace) -> SpeculationReport:
    """Load what the command line names and replay it, dtype by dtype, so that only one model is held at a time."""
    episodes = load_episodes(args.episodes)
    results, info = [], None
    for dtype in dict.fromkeys(("float32", args.dtype)):
        loaded = build_model(argparse.Namespace(**{**vars(args), "dtype": dtype}))
        recorded = [e.observations(loaded.num_open_loop_steps, loaded.info.views)[: args.calls] for e in episodes]
        if not any(result.dtype == loaded.info.dtype for result in results):
            results += compare_decoding(loaded, {word: parse_cache(word) for word in args.cache}, recorded)
        info = loaded.info
    assert info is not None
    sources = [episode.source for episode in episodes]
    calls = sum(map(len, recorded))
    return SpeculationReport(info, sources, calls, results, shown_command(sys.argv), today())


def main() -> int:
    """Replay, print, write; 1 if speculation changed an answer in float32."""
    args = build_parser().parse_args()
    with one_line_errors():
        check_output(args.output)
        report = run(args)
        print(report.show())
        output = args.output or default_output(report, args)
        report.write(output)
        print(f"\nwritten: {output.name} in {output.parent.name}/")
    exact = [r for r in report.results if r.dtype == "float32"]
    return int(any(r.plain.same_calls < r.plain.calls for r in exact))


if __name__ == "__main__":
    sys.exit(main())
