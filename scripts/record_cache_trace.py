"""Record what a trained model attends to on the recorded episode, for benchmarks of models with random weights.

    python scripts/record_cache_trace.py --model tiny_oft --checkpoint builtin

Writes relevance scores, attention entropies and the hand's motion at every policy call (see vlacache/bench/trace.py)
beside the episode, where scripts/bench_latency.py finds it. Refuses untrained weights: their attention means nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __package__ in (None, ""):  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from vlacache.bench.arms import record_trace
from vlacache.bench.command import add_model_options, build_model, one_line_errors
from vlacache.bench.episode import DEFAULT_EPISODE, RecordedEpisode
from vlacache.bench.trace import DEFAULT_TRACE


def main() -> None:
    """Record and describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_options(parser, dtype="float32")
    parser.add_argument("--episode", type=Path, default=DEFAULT_EPISODE)
    parser.add_argument("--output", type=Path, default=DEFAULT_TRACE)
    args = parser.parse_args()
    with one_line_errors():
        episode = RecordedEpisode.load(args.episode)
        loaded = build_model(args)
        if loaded.info.weights != "trained":
            raise ValueError(f"expected trained weights, got {loaded.info.weights}: their attention means nothing")
        observations = episode.observations(loaded.num_open_loop_steps, loaded.info.views)
        trace = record_trace(loaded, observations, episode.source)
        trace.save(args.output)
    shares = trace.entropy_shares
    print(f"{args.output.name}: {trace.source}")
    print(f"{len(trace.steps)} decisions, views {trace.views}, {args.output.stat().st_size / 1e3:.0f} kB")
    print(f"{sum(trace.grips)} decisions after a grip, median speed {np.median(trace.speeds):.2f}")
    print(f"entropy share by layer, mean: {[round(float(v), 3) for v in shares.mean(axis=0)]}")


if __name__ == "__main__":
    main()
