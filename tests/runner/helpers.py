"""Small stand-ins for a model and helpers that run the toy suite in well under a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from runners.envs.toy import make_toy_env
from runners.experts import build_expert
from runners.journal import read_episodes
from runners.observers import Observer
from runners.records import EpisodeRecord, RunRecord
from runners.store import RunStore
from runners.suite import RunnerSettings, SuiteOutcome, plan_episodes, run_suite
from vlacache.types import LIBERO_ACTION_SPEC, ActionChunk, ActionSpec, CacheTrace, InferenceStats, Observation

GRID = (4, 4)
NUM_LAYERS = 6


@dataclass
class ChunkPolicy:
    """Random chunks from the seed it was reset with; remembers what it was asked.

    ``reuse`` > 0 makes it report a cache trace in which that share of the patches was reused in every layer.
    """

    name: str = "chunks"
    weights: str = "untrained"
    action_spec: ActionSpec = LIBERO_ACTION_SPEC
    cameras: tuple[str, ...] = ("agentview", "wrist")
    num_open_loop_steps: int = 4
    reuse: float = 0.0
    sleep_s: float = 0.0
    seeds: list[int] = field(default_factory=list)
    calls_since_reset: int = 0
    seen: list[Observation] = field(default_factory=list)

    def reset(self, seed: int) -> None:
        self.seeds.append(seed)
        self.calls_since_reset = 0
        self._rng = np.random.default_rng(seed)

    def infer(self, observation: Observation) -> ActionChunk:
        time.sleep(self.sleep_s)
        self.seen.append(observation)
        self.calls_since_reset += 1
        actions = self._rng.uniform(-1, 1, size=(self.num_open_loop_steps, self.action_spec.dim)).astype(np.float32)
        cold = self.calls_since_reset == 1
        stats = InferenceStats(
            prefill_ms=2.0, total_ms=3.0, reuse_ratio=0.0 if cold else self.reuse, fallback="cold" if cold else None
        )
        return ActionChunk(actions, stats, self._trace(cold))

    def _trace(self, cold: bool) -> CacheTrace:
        num_patches = len(self.cameras) * GRID[0] * GRID[1]
        reused = np.zeros(num_patches, np.uint8)
        if not cold:
            reused[: round(self.reuse * num_patches)] = NUM_LAYERS
        return CacheTrace(self.cameras, GRID, reused, reused > 0, np.zeros(num_patches, bool), NUM_LAYERS)


def make_run(run_id: str = "demo", cache: str = "adaptive", **config: object) -> RunRecord:
    """A run record of the toy suite; ``config`` overrides entries of the resolved config."""
    resolved = {
        "seed": 0,
        "suite": {"name": "toy", "task_ids": [0, 1], "episodes_per_task": 2, "reseed": "episode"},
        "model": {"name": "chunks"},
        "cache": {"name": cache},
        "runner": {"max_errors": 10, "video": "none"},
        **config,
    }
    return RunRecord(
        run_id=run_id,
        suite="toy",
        model="chunks",
        weights="untrained",
        cache=cache,
        assets={"source": "none", "digest": "0" * 16, "render": "fast", "detail": "toy"},
        device="cpu",
        config=resolved,
        config_hash="",
        git_commit=None,
        versions={"machine": "test machine"},
        created_at="2026-11-21T00:00:00+00:00",
    )


@dataclass
class ToyRun:
    """One call of ``run_suite`` on the toy suite, everything replaceable."""

    run_dir: Path
    task_ids: Sequence[int] = (0, 1)
    episodes_per_task: int = 2
    seed: int = 0
    run: RunRecord = field(default_factory=make_run)
    make_env: Callable = make_toy_env
    baseline: object = field(default_factory=lambda: build_expert("toy"))
    policy: object | None = field(default_factory=lambda: ChunkPolicy(reuse=0.5))
    observers: Sequence[Observer] = ()
    settings: RunnerSettings = field(default_factory=lambda: RunnerSettings(cache="adaptive"))

    def __call__(self) -> SuiteOutcome:
        plan = plan_episodes("toy", self.task_ids, self.episodes_per_task, None, self.seed, "official", 20)
        with RunStore(self.run_dir, self.run, "seed: 0\n") as store:
            return run_suite(
                plan,
                make_env=self.make_env,
                baseline=self.baseline,
                policy=self.policy,
                store=store,
                observers=self.observers,
                settings=self.settings,
            )


def outcome_of(record: EpisodeRecord) -> tuple[object, ...]:
    """What must be equal between two runs of the same episode: everything but times and attempts."""
    return record.key, record.status, record.num_steps, record.num_policy_calls, record.first_success_step


def rows(toy_run: ToyRun) -> list[EpisodeRecord]:
    """All rows of the run in file order."""
    return read_episodes(toy_run.run_dir)
