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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

if __package__ in (None, ""):  # run from a checkout that is not installed, as on a lent machine
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vlacache.bench.compare import Row, measure, summarize
from vlacache.bench.episode import DEFAULT_EPISODE, RecordedEpisode
from vlacache.core.policies import build_cache_policy
from vlacache.core.schedule import minmax_growth
from vlacache.models.factory import LoadedModel, ModelConfig, ModelInfo, load_model
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
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def cpu_name() -> str:
    """The processor's name as Linux gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


HEADER = (
    f"{'arm':16} {'reuse':>6} {'cached':>7} {'total':>8} {'p90':>8} {'prefill':>8} {'decide':>7} {'share':>6} "
    f"{'end2end':>8} {'ideal':>6} {'prefill':>8} {'ideal':>6} {'effic.':>7} {'episode [95 %]':>20} {'age':>4}"
)


LEGEND = """
reuse, total, prefill, decide, x: over calls that used the cache; cached: share of such calls; ideal: MAC ratio;
episode: all calls, cold ones and fallbacks included; share: of a dense call; age: oldest K/V used, in calls"""


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


@dataclass(frozen=True)
class Benchmark:
    """One finished measurement."""

    model: ModelInfo
    machine: dict[str, Any]
    episode: str
    calls: int
    repeats: int
    rows: list[Row]
    sampled_entropy_error: dict[str, float]
    total_ms: dict[str, list[list[float]]]

    def show(self) -> None:
        """Print the table."""
        info, where = self.model, self.machine
        print(f"{info.name} ({info.weights} weights, {info.num_parameters / 1e6:.1f} M, {info.dtype})")
        print(f"on {where['device']}, {where['threads']} threads, torch {where['torch']}")
        print(
            f"{self.episode}; {self.calls} calls x {self.repeats} repetitions, interleaved; medians; x = none / arm\n"
        )
        print(HEADER)
        for row in self.rows:
            print(line(row))
        print(LEGEND)
        errors = ", ".join(f"{name} {value:.2g}" for name, value in self.sampled_entropy_error.items())
        print(f"entropy read from 16 rows instead of all: {errors}")

    def write(self, path: Path) -> None:
        """Store the table and every timed call's total."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def run(loaded: LoadedModel, episode: RecordedEpisode, device: str, repeats: int) -> Benchmark:
    """Measure all arms."""
    observations = episode.observations(loaded.num_open_loop_steps)
    arms = build_arms(loaded)
    measured = measure(arms, observations, episodes=repeats)
    return Benchmark(
        model=loaded.info,
        machine=machine(torch.device(device)),
        episode=episode.source,
        calls=len(observations),
        repeats=repeats,
        rows=[summarize(name, measured[name], measured["none"]) for name in arms],
        sampled_entropy_error=entropy_error(loaded, observations[:5]),
        total_ms={name: m.column("total_ms").round(3).tolist() for name, m in measured.items()},
    )


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
    benchmark = run(loaded, RecordedEpisode.load(args.episode), args.device, args.repeats)
    benchmark.show()
    if args.output is not None:
        benchmark.write(args.output)


if __name__ == "__main__":
    main()
