"""One benchmark from a loaded model to JSON and table."""

from __future__ import annotations

import datetime
import json
import math
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from vlacache.bench.compare import Measured, Row, measure, summarize
from vlacache.bench.ladder import DENSE, EAGER, SCRIPT, Rung, build_arms, build_rung, choose_names
from vlacache.bench.roofline import DeviceRates, StageCost, measure_rates, weight_bytes
from vlacache.bench.table import ladder_table, policy_table, stage_line
from vlacache.bench.targets import Target, check_speculation, check_targets
from vlacache.bench.trace import AttentionTrace
from vlacache.core.policies import build_cache_policy
from vlacache.core.schedule import minmax_growth
from vlacache.models.factory import LoadedModel, ModelInfo
from vlacache.models.policy import CachedPolicy
from vlacache.types import Observation, Policy

SCHEMA_VERSION = 4
#: Patches a view of the twins that stand in for published files in tests: launching takes longer than computing there.
TWIN_PATCHES = 16


@dataclass(frozen=True)
class Benchmark:
    """One finished measurement.

    Attributes:
        decisions: what relevance and entropy came from. rungs: the ladder. rows: policies against the dense path.
        total_ms: every timed call, [repetitions][calls] by arm. command: what was called. date: in UTC, ISO.
    """

    model: ModelInfo
    weight_bytes: int
    machine: dict[str, Any]
    rates: DeviceRates
    episode: str
    decisions: str
    calls: int
    repeats: int
    rungs: list[Rung]
    rows: list[Row]
    targets: list[Target]
    sampled_entropy_error: dict[str, float]
    total_ms: dict[str, list[list[float]]]
    command: str = ""
    date: str = ""

    def show(self) -> str:
        """The tables."""
        info, where, millions = self.model, self.machine, self.model.num_parameters / 1e6
        gemm = ", ".join(f"{rate / 1e12:.3g} TMAC/s {dtype}" for dtype, rate in self.rates.macs_per_s.items())
        errors = ", ".join(f"{name} {value:.2g}" for name, value in self.sampled_entropy_error.items())
        return "\n".join(
            [
                f"{info.name} ({info.weights} weights, {info.checkpoint}; {millions:.1f} M, {info.dtype})",
                f"on {where['device']}, {where['threads']} threads, torch {where['torch']}; measured: copy "
                f"{self.rates.bytes_per_s / 1e9:.4g} GB/s, GEMM {gemm}",
                f"{self.episode}; {self.calls} calls x {self.repeats} repetitions, interleaved, warm-up left out",
                f"relevance and schedule: {self.decisions}",
                "",
                ladder_table(self.rungs),
                *(stage_line(rung) for rung in self.rungs if rung.arm.startswith(DENSE)),
                "",
                policy_table(self.rows),
                f"entropy read from 16 rows instead of all: {errors}",
                "",
                *(str(target) for target in self.targets),
                *([] if self.targets else ["no goals: at a tiny twin's size launches decide, not work"]),
            ]
        )

    def write(self, path: Path) -> None:
        """Store tables and every timed call's total."""
        path.parent.mkdir(parents=True, exist_ok=True)
        data = {"schema_version": SCHEMA_VERSION, **asdict(self), "targets": [t.to_dict() for t in self.targets]}
        path.write_text(json.dumps(data, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Benchmark:
        """Inverse of ``write``.

        Raises:
            ValueError: a file of another kind or of an earlier version, which had other fields.
        """
        data = json.loads(path.read_text())
        version = data.pop("schema_version", None)
        if version != SCHEMA_VERSION:
            raise ValueError(f"{path.name}: expected a benchmark of version {SCHEMA_VERSION}, got {version}")
        model = {**data["model"], "views": tuple(data["model"]["views"]), "grid": tuple(data["model"]["grid"])}
        parts = {
            "model": ModelInfo(**model),
            "rates": DeviceRates(**data["rates"]),
            "rungs": [_rung(rung) for rung in data["rungs"]],
            "rows": [Row(**row) for row in data["rows"]],
            "targets": [Target(t["name"], t["value"], t["limit"], t["at_most"]) for t in data["targets"]],
        }
        return cls(**{**data, **parts})


def _rung(data: dict[str, Any]) -> Rung:
    return Rung(**{**data, "costs": {stage: StageCost(**cost) for stage, cost in data["costs"].items()}})


def today() -> str:
    """The date in UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def run_benchmark(
    loaded: LoadedModel,
    observations: Sequence[Observation],
    *,
    episode: str,
    trace: AttentionTrace | None,
    repeats: int,
    only: Sequence[str] | None = None,
    variants: Sequence[tuple[str, Any]] = (),
    warmup: int = 2,
    command: str = "",
) -> Benchmark:
    """Measure the arms on recorded observations.

    Args:
        episode: its source, command: what was called; for the record.
        trace: None for decisions by the model's own attention.
        only: names of arms; the dense one is always there. None for all. variants: see ``build_arms``; always there.

    Raises:
        ValueError: an arm of ``only`` that does not exist, or fewer than two observations (all calls would be cold).
    """
    device = loaded.model.device
    arms = chosen_arms(loaded, trace, observations, only, variants)
    rates = measure_rates(loaded.model)
    measured = measure(arms, observations, episodes=repeats, warmup=warmup, device=device)
    rungs, rows, targets = summarize_arms(loaded, measured, rates)
    return Benchmark(
        model=loaded.info,
        weight_bytes=weight_bytes(loaded.model),
        machine=machine(device),
        rates=rates,
        episode=episode,
        decisions=decisions(loaded, trace),
        calls=len(observations),
        repeats=repeats,
        rungs=rungs,
        rows=rows,
        targets=targets,
        sampled_entropy_error=entropy_error(loaded, observations[:5]),
        total_ms=totals(measured),
        command=command,
        date=today(),
    )


def chosen_arms(
    loaded: LoadedModel,
    trace: AttentionTrace | None,
    observations: Sequence[Observation],
    only: Sequence[str] | None,
    variants: Sequence[tuple[str, Any]],
) -> dict[str, Policy]:
    """The arms to measure; see ``run_benchmark``."""
    if len(observations) < 2:
        raise ValueError(f"benchmark: expected at least 2 policy calls, got {len(observations)}")
    info = loaded.info
    fitted = None if trace is None else trace.fit(info.views, info.grid, info.num_layers, loaded.model.device)
    built = build_arms(loaded, fitted, observations[0], variants)
    return {name: built[name] for name in choose_names(list(built), only)}


def summarize_arms(
    loaded: LoadedModel, measured: dict[str, Measured], rates: DeviceRates
) -> tuple[list[Rung], list[Row], list[Target]]:
    """Both tables and the goals; a twin with ``TWIN_PATCHES`` a view is held to none."""
    model, info = loaded.model, loaded.info
    rungs = {name: build_rung(name, measured, model, rates) for name in measured}
    cached = [name for name in measured if name not in (SCRIPT, EAGER)]
    rows = {name: summarize(name, measured[name], measured[DENSE]) for name in cached}
    targets: list[Target] = []
    if math.prod(info.grid) > TWIN_PATCHES:
        targets = check_targets(rungs, rows, info.name, model.device.type)
        targets += check_speculation(measured, model.config.num_action_tokens - 1, model.device.type)
    return list(rungs.values()), list(rows.values()), targets


def totals(measured: dict[str, Measured]) -> dict[str, list[list[float]]]:
    """Every timed call's total by arm."""
    return {name: m.column("total_ms").round(3).tolist() for name, m in measured.items()}


def decisions(loaded: LoadedModel, trace: AttentionTrace | None) -> str:
    """What relevance and entropy came from, in words."""
    if trace is not None:
        return f"trace of {trace.source}"
    if loaded.info.weights == "untrained":
        return "live, from untrained weights: reuse of adaptive, paper, official and static_task means nothing"
    return "live"


def machine(device: torch.device) -> dict[str, Any]:
    """Where it was measured."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "device_type": device.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def cpu_name() -> str:
    """The processor's name as Linux gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def entropy_error(loaded: LoadedModel, observations: Sequence[Observation]) -> dict[str, float]:
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
