"""Latency of every cache policy against the fastest dense path, on a recorded episode.

    python scripts/bench_latency.py                          tiny_oft, the episode in the repo
    python scripts/bench_latency.py --model tiny_openvla --output results/bench/tiny_openvla.json

All arms run in one process and are called in turn on the same frames; the first repetitions are thrown away. Needs
torch, timm, tokenizers and numpy; no simulator, no Hydra, no network.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

if __package__ in (None, ""):  # run from a checkout that is not installed, as on a lent machine
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vlacache.bench.compare import Measured, Row, measure, summarize
from vlacache.bench.episode import DEFAULT_EPISODE, RecordedEpisode
from vlacache.core.policies import build_cache_policy
from vlacache.models.factory import LoadedModel, ModelConfig, load_model
from vlacache.models.policy import CachedPolicy

FIXED_RATIOS = (0.2, 0.4, 0.6, 0.8)
POLICIES = ("adaptive", "paper", "official", "static", "static_task")


def build_arms(loaded: LoadedModel) -> dict[str, CachedPolicy]:
    """The baseline, four fixed ratios and the policies, all on one set of weights."""
    arms = {"none": CachedPolicy(loaded, build_cache_policy("none"))}
    for ratio in FIXED_RATIOS:
        numbers = {"reuse_ratio": ratio, "min_saving": 0.0, "max_backoff": 0}
        arms[f"fixed_ratio={ratio}"] = CachedPolicy(loaded, build_cache_policy("fixed_ratio", numbers))
    return arms | {name: CachedPolicy(loaded, build_cache_policy(name)) for name in POLICIES}


def machine(device: torch.device) -> dict[str, Any]:
    """Where it was measured."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {
        "device": name, "threads": torch.get_num_threads(), "torch": torch.__version__, "python": platform.python_version(),
    }  # fmt: skip


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


HEADER = (
    f"{'arm':16} {'reuse':>6} {'cached':>7} {'total':>8} {'p90':>8} {'prefill':>8} {'decide':>7} {'share':>6} "
    f"{'end2end':>8} {'ideal':>6} {'prefill':>8} {'ideal':>6} {'effic.':>7} {'episode [95 %]':>20} {'age':>4}"
)


def line(row: Row) -> str:
    """One row of the table."""
    return (
        f"{row.arm:16} {row.reuse_ratio:6.2f} {row.cached_calls:7.0%} {row.total_ms:6.1f}ms {row.p90_ms:6.1f}ms "
        f"{row.prefill_ms:6.1f}ms {row.decide_ms:5.1f}ms {row.decide_share:6.1%} {row.end_to_end:7.2f}x "
        f"{row.ideal_end_to_end:6.2f} {row.prefill:7.2f}x {row.ideal_prefill:6.2f} {row.efficiency:7.2f} "
        f"{row.episode:6.2f} [{row.episode_low:.2f}, {row.episode_high:.2f}] {row.max_age:4d}"
    )


def entropy_error(loaded: LoadedModel, observations: list[Any]) -> dict[str, float]:
    """What reading 16 rows instead of all does to the entropies (nats) and to the official schedule, cold call."""
    from vlacache.core.schedule import minmax_growth

    found = []
    for rows in (16, None):
        policy = CachedPolicy(loaded, build_cache_policy("official", {"entropy_rows": rows}))
        per_frame = []
        for observation in observations:
            policy.reset(0)
            policy.infer(observation)
            per_frame.append(policy.session.entropies)
        found.append(torch.stack([e for e in per_frame if e is not None]))
    sampled, exact = found
    schedules = [torch.stack([minmax_growth(e, 0.55) for e in entropies]) for entropies in found]
    return {
        "entropy_max_abs_nats": float((sampled - exact).abs().max()),
        "entropy_mean_abs_nats": float((sampled - exact).abs().mean()),
        "official_schedule_max_abs": float((schedules[0] - schedules[1]).abs().max()),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny_oft")
    parser.add_argument("--checkpoint", default=None)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--episode", type=Path, default=DEFAULT_EPISODE)
    parser.add_argument("--repeats", type=int, default=20, help="timed repetitions of the episode")
    parser.add_argument("--output", type=Path, default=None, help="JSON file for the result")
    args = parser.parse_args()
    loaded = load_model(ModelConfig(args.model, args.checkpoint, dtype=args.dtype, device=args.device))
    episode = RecordedEpisode.load(args.episode)
    observations = episode.observations(loaded.num_open_loop_steps)
    arms = build_arms(loaded)
    measured = measure(arms, observations, episodes=args.repeats)
    rows = [summarize(name, measured[name], measured["none"]) for name in arms]
    error = entropy_error(loaded, observations[:5])
    where = machine(torch.device(args.device))
    report(loaded, episode, len(observations), args.repeats, where, rows, error)
    if args.output is not None:
        write(args.output, loaded, episode, where, rows, error, measured)


def report(
    loaded: LoadedModel, episode: RecordedEpisode, calls: int, repeats: int, where: dict[str, Any], rows: list[Row],
    error: dict[str, float],
) -> None:  # fmt: skip
    """Print the table."""
    info = loaded.info
    print(f"{info.name} ({info.weights} weights, {info.num_parameters / 1e6:.1f} M, {info.dtype}) on {where['device']}, "
          f"{where['threads']} threads, torch {where['torch']}")  # fmt: skip
    print(f"{episode.source}; {calls} calls x {repeats} repetitions, interleaved; medians; x = none / arm\n")
    print(HEADER)
    for row in rows:
        print(line(row))
    print("\nreuse, total, prefill, decide, x: calls that used the cache; cached: share of such calls; ideal: MAC ratio;")
    print("episode: all calls, cold ones and fallbacks included; share: of a dense call; age: oldest K/V used, in calls")
    print("entropy read from 16 rows instead of all: " + ", ".join(f"{k} {v:.3f}" for k, v in error.items()))


def write(
    path: Path, loaded: LoadedModel, episode: RecordedEpisode, where: dict[str, Any], rows: list[Row],
    error: dict[str, float], measured: dict[str, Measured],
) -> None:  # fmt: skip
    """Store the table and every timed call's total."""
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "model": asdict(loaded.info), "machine": where, "episode": episode.source, "rows": [asdict(row) for row in rows],
        "sampled_entropy_error": error,
        "total_ms": {name: m.column("total_ms").round(3).tolist() for name, m in measured.items()},
    }  # fmt: skip
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
