"""A writer of synthetic runs with the layout of ``RunStore``, so that report tests need no simulator and no model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from runners.records import EpisodeRecord, RunRecord, StepRecord
from runners.steps import write_steps
from vlacache.types import STAGES, InferenceStats

ASSETS = {"source": "builtin", "digest": "1a2b3c4d5e6f7a8b", "render": "fast", "detail": "v1"}
NUM_LAYERS, NUM_PATCHES, CHUNK = 6, 32, 4
#: Mean milliseconds per stage without a cache.
DENSE_MS = dict(zip(STAGES, (2.0, 11.0, 0.0, 42.0, 0.0, 4.5, 0.5), strict=True))
INSTRUCTIONS = (
    "pick up the black bowl between the plate and the ramekin and place it on the plate",
    "pick up the black bowl next to the ramekin and place it on the plate",
    "pick up the black bowl from table center and place it on the plate",
)


@dataclass
class SyntheticRun:
    """What to write; every field is a knob that some test turns."""

    run_id: str = "demo"
    cache: str = "adaptive"
    weights: str = "untrained"
    model: str = "tiny_oft"
    device: str = "cpu"
    clock: str = "cpu"
    num_tasks: int = 2
    num_inits: int = 4
    reuse: float = 0.5
    success: tuple[float, float] = (0.8, 0.75)  # baseline, policy
    arms: tuple[str, ...] = ("baseline", "policy")
    assets: dict[str, str] = field(default_factory=lambda: dict(ASSETS))
    traces: bool = True
    seed: int = 0
    num_warmup: int = 1
    resolved_cache: dict[str, object] = field(default_factory=dict)
    errors: frozenset[tuple[str, int, int]] = frozenset()  # (arm, task, init)
    reused: frozenset[tuple[int, int]] = frozenset()  # (task, init) of copied baselines
    slowdown: float = 1.0  # of the policy
    placement: str = "official"
    checkpoint: str | None = None
    config: dict[str, object] = field(default_factory=lambda: {"seed": 0})


def run_record(spec: SyntheticRun) -> RunRecord:
    return RunRecord(
        run_id=spec.run_id,
        suite="libero_spatial",
        model=spec.model,
        weights=spec.weights,
        cache=spec.cache,
        assets=spec.assets,
        device=spec.device,
        config=spec.config,
        config_hash="0123456789abcdef",
        git_commit="abc1234",
        versions={"python": "3.11.2", "torch": "2.9.0", "machine": "x86_64/Test CPU/2 cores"},
        created_at="2026-11-21T09:00:00Z",
        views=["agentview", "robot0_eye_in_hand"],
        grid=[4, 4],
        num_layers=NUM_LAYERS,
        resolved_cache=spec.resolved_cache,
        checkpoint=spec.checkpoint,
    )


def call_stats(spec: SyntheticRun, arm: str, index: int, rng: np.random.Generator, warmup: bool) -> InferenceStats:
    """Stage times that add up, and a reuse that shortens the prefill."""
    caching = arm == "policy" and spec.cache != "none"
    cold = index == 0
    reuse = 0.0 if cold or not caching else float(np.clip(rng.normal(spec.reuse, 0.06), 0.0, 1.0))
    times = {stage: ms * float(rng.lognormal(0.0, 0.05)) for stage, ms in DENSE_MS.items()}
    if caching:
        times["decide"] = 1.6 * float(rng.lognormal(0.0, 0.1))
        times["prefill"] *= (1.0 - 0.85 * reuse) * spec.slowdown
    if cold:
        times["preprocess"] += 4.0
    fallback = "policy_none" if not caching else "cold" if cold else "break_even" if reuse < 0.4 else None
    return InferenceStats(
        **{f"{stage}_ms": ms for stage, ms in times.items()},
        total_ms=sum(times.values()) * (30.0 if warmup else 1.0),
        clock=spec.clock,
        num_prompt_tokens=48,
        recomputed_tokens_mean=48.0 - 32.0 * reuse,
        reuse_ratio=reuse,
        max_age=index if caching else 0,
        macs=int(3.2e9 * (1.0 - 0.7 * reuse)),
        prefill_macs=int(2.4e9 * (1.0 - 0.93 * reuse)),
        peak_memory_bytes=123_000_000,
        is_warmup=warmup,
        fallback=fallback,
    )


def step_rows(spec: SyntheticRun, arm: str, num_steps: int, rng: np.random.Generator, warm: bool) -> list[StepRecord]:
    rows = []
    for step in range(num_steps):
        index, is_call = step // CHUNK, step % CHUNK == 0
        call = call_stats(spec, arm, index, rng, warmup=warm and index < spec.num_warmup) if is_call else None
        trace = None
        if call is not None and spec.traces:
            levels = np.minimum(NUM_LAYERS, rng.poisson(NUM_LAYERS * call.reuse_ratio, NUM_PATCHES))
            trace = levels.astype(np.uint8).tobytes()
        rows.append(
            StepRecord(
                step=step,
                call_index=index,
                action=[0.0] * 7,
                proprio=[0.0] * 8,
                success=False,
                sim_ms=9.0,
                render_ms=14.0,
                call=call,
                reused_layers=trace,
                static=trace,
                relevant=trace,
            )
        )
    return rows


def write_synthetic_run(folder: Path, spec: SyntheticRun) -> Path:
    """Write run.json, episodes.jsonl and steps/*.parquet of ``spec`` under ``folder``; returns ``folder``."""
    (folder / "steps").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(asdict(run_record(spec))))
    rng = np.random.default_rng(spec.seed)
    lines, is_first = [], dict.fromkeys(spec.arms, True)
    for task in range(spec.num_tasks):
        for init in range(spec.num_inits):
            for arm in spec.arms:
                record, steps = synthetic_episode(spec, arm, task, init, rng, is_first[arm])
                is_first[arm] = False
                lines.append(json.dumps(record.to_dict()))
                if record.reused_from is None and record.status != "error":
                    write_steps(folder / "steps" / f"{record.key.slug}.parquet", record, steps)
    (folder / "episodes.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def synthetic_episode(
    spec: SyntheticRun, arm: str, task: int, init: int, rng: np.random.Generator, warm: bool
) -> tuple[EpisodeRecord, list[StepRecord]]:
    success = rng.random() < spec.success[0 if arm == "baseline" else 1]
    num_steps = int(rng.integers(60, 90)) if success else 110
    steps = step_rows(spec, arm, num_steps, rng, warm)
    calls = [row.call for row in steps if row.call is not None]
    has_error = (arm, task, init) in spec.errors
    record = EpisodeRecord(
        run_id=spec.run_id,
        arm=arm,  # type: ignore[arg-type]
        cache="none" if arm == "baseline" else spec.cache,
        suite="libero_spatial",
        task_id=task,
        init_index=init,
        env_seed=0,
        placement=spec.placement,
        status="error" if has_error else "success" if success else "failure",
        first_success_step=num_steps - 1 if success and not has_error else None,
        num_steps=num_steps,
        num_policy_calls=len(calls),
        reused_from="earlier" if arm == "baseline" and (task, init) in spec.reused else None,
        error="Traceback ...\nRuntimeError: simulator" if has_error else None,
        assets=spec.assets,
        attempt=1,
        instruction=INSTRUCTIONS[task % len(INSTRUCTIONS)],
        wall_s=num_steps * 0.024 + sum(c.total_ms for c in calls) / 1e3,
        sim_s=num_steps * 0.023,
        model_s=sum(c.total_ms for c in calls) / 1e3,
        pair_order=(task + init + (arm == "policy")) % 2,
    )
    return record, steps


WriteRun = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """``write_run(cache="paper", ...)`` writes a synthetic run and returns its folder."""

    def write(folder: str | Path = "demo", **knobs: object) -> Path:
        return write_synthetic_run(tmp_path / folder, replace(SyntheticRun(), **knobs))  # type: ignore[arg-type]

    return write


def append_episode(run_dir: Path, **changes: object) -> None:
    """Append the last row of ``episodes.jsonl`` once more with ``changes``."""
    path = run_dir / "episodes.jsonl"
    row = json.loads(path.read_text().splitlines()[-1])
    with path.open("a") as file:
        file.write(json.dumps({**row, **changes}) + "\n")


@pytest.fixture
def append_row() -> Callable[..., None]:
    return append_episode


@pytest.fixture(scope="session")
def sweep_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four arms of a sweep whose baseline is shared; copy it before writing into it."""
    root = tmp_path_factory.mktemp("template")
    copied = frozenset((task, init) for task in range(2) for init in range(1, 4))
    for ratio in (0.8, 0.2, 0.5):
        reused = frozenset() if ratio == 0.2 else copied
        spec = SyntheticRun(cache="fixed_ratio", reuse=ratio, resolved_cache={"reuse_ratio": ratio}, reused=reused)
        write_synthetic_run(root / f"ratio-{ratio}", spec)
    write_synthetic_run(root / "adaptive", SyntheticRun(reuse=0.55, reused=copied))
    return root
