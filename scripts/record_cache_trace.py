"""Record what a trained model attends to on the recorded episode, for benchmarks of models with random weights.

    python scripts/record_cache_trace.py --model tiny_oft --checkpoint builtin

Writes relevance scores and attention entropies of every policy call (see vlacache/bench/trace.py) beside the episode,
where scripts/bench_latency.py finds it. Refuses untrained weights: their attention means nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

if __package__ in (None, ""):  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vlacache.bench.arms import record_trace
from vlacache.bench.episode import DEFAULT_EPISODE, RecordedEpisode
from vlacache.bench.trace import DEFAULT_TRACE
from vlacache.models.factory import ModelConfig, load_model


def main() -> None:
    """Record and describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny_oft")
    parser.add_argument("--checkpoint", default="builtin", help="builtin, folder or hub id")
    parser.add_argument("--revision", default=None, help="commit of a hub id")
    parser.add_argument("--unnorm-key", default=None)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--episode", type=Path, default=DEFAULT_EPISODE)
    parser.add_argument("--output", type=Path, default=DEFAULT_TRACE)
    args = parser.parse_args()
    try:
        config = ModelConfig(
            args.model, args.checkpoint, args.revision, dtype="float32", device=args.device, unnorm_key=args.unnorm_key
        )
        loaded = load_model(config)
        if loaded.info.weights != "trained":
            raise ValueError(f"expected trained weights, got {loaded.info.weights}: their attention means nothing")
        episode = RecordedEpisode.load(args.episode)
        observations = episode.observations(loaded.num_open_loop_steps, loaded.info.views)
        trace = record_trace(loaded, observations, episode.source)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"record_cache_trace: {error}")
    trace.save(args.output)
    shares = trace.entropy_shares
    print(f"{args.output.name}: {trace.source}")
    print(f"{len(trace.steps)} decisions, views {trace.views}, {args.output.stat().st_size / 1e3:.0f} kB")
    print(f"entropy share by layer, mean: {[round(float(v), 3) for v in shares.mean(axis=0)]}")


if __name__ == "__main__":
    main()
