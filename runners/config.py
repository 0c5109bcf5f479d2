"""The typed configuration of a run. ``configs/`` has the values and their meaning; here are types and ranges."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, StrictStr

from runners.suite_names import NUM_TASKS, TASK_MAX_STEPS

Index = Annotated[StrictInt, Field(ge=0)]
Count = Annotated[StrictInt, Field(ge=1)]


def _check_video(value: Any) -> Any:
    names = [] if value in ("none", "first", "all") else value
    if not isinstance(names, list) or not all(re.fullmatch(r"\d+:\d+", str(name)) for name in names):
        raise ValueError(
            f"runner.video: expected none, first, all or a list such as ['0:3','2:0'] (task:state), got {value!r}"
        )
    return value


#: Which pairs are filmed; the words of ``runners.video.VideoSelection``.
Video = Annotated[StrictStr | tuple[StrictStr, ...], BeforeValidator(_check_video)]


class ConfigError(ValueError):
    """The command or a config file asks for something that does not exist; the message says what to do."""


@dataclass(frozen=True, slots=True)
class SuiteConfig:
    """``configs/suite``: which episodes, in which simulator."""

    name: StrictStr
    backend: Literal["libero", "toy", "simpler", "simpler_env"]
    task_ids: tuple[Index, ...] | None
    episodes_per_task: Count | None
    init_indices: tuple[Index, ...] | None
    max_steps: Count | None
    success_rule: Literal["first", "final_step", "any_step"]
    reseed: Literal["episode", "task"] = "episode"
    placement: Literal["official", "wide"] = "official"
    render: Literal["reference", "fast"] | None = None
    protocol: Literal["simpler", "maniskill3"] | None = None
    sensor_noise: Annotated[float, Field(ge=0)] = 0.0
    settings: tuple[StrictStr, ...] | None = None
    first_state: Index = 0

    @property
    def tasks(self) -> tuple[int, ...]:
        """Task ids of the run in order; all of the suite's when none were named."""
        return tuple(range(NUM_TASKS[self.name])) if self.task_ids is None else self.task_ids

    def step_limit(self, task_id: int) -> int:
        """Steps after which an episode of a task ends: ``max_steps``, or the task's own where that is null."""
        return TASK_MAX_STEPS[self.name][task_id] if self.max_steps is None else self.max_steps


@dataclass(frozen=True, slots=True)
class ModelSection:
    """``configs/model``: which policy; becomes ``vlacache.models.factory.ModelConfig`` in ``runners/build.py``.

    ``base``: for ``blind``, the model behind the closed eyes. ``revision``, ``unnorm_key``: of published checkpoints.
    ``decode``: of models with action tokens. ``runtime``: how calls are launched on a GPU.
    """

    name: StrictStr
    base: StrictStr | None = None
    checkpoint: StrictStr | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    num_open_loop_steps: Count | None = None
    revision: StrictStr | None = None
    unnorm_key: StrictStr | None = None
    decode: Literal["plain", "speculative"] = "plain"
    runtime: Literal["auto", "eager", "graphs"] = "auto"


@dataclass(frozen=True, slots=True)
class CacheSection:
    """``configs/cache``: the policy's name and its numbers, checked against the policy's own dataclass."""

    name: StrictStr
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunnerConfig:
    """``configs/runner``: how the episodes are run and what is kept."""

    self_pair: StrictBool
    max_errors: Index
    video: Video
    dry_run: StrictBool
    shared_baseline: StrictStr | None
    retime_pairs: Count


@dataclass(frozen=True, slots=True)
class LoggerConfig:
    """``configs/logger``: where the results go beside the run's own files."""

    name: StrictStr
    mode: Literal["offline", "online"] = "offline"
    project: StrictStr = "vlacache-bench"


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything that ``python run.py`` was asked to do."""

    seed: Index
    run_id: StrictStr | None
    assets: StrictStr
    device: StrictStr
    suite: SuiteConfig
    model: ModelSection
    cache: CacheSection
    runner: RunnerConfig
    logger: LoggerConfig


#: Models that run without a cache, and why.
ONE_ARM_MODELS: dict[str, str] = {
    "expert": "has no keys and values to reuse",
    "replay": "has no keys and values to reuse",
    "blind": "is a control for tables of caches",
}

SECTIONS: dict[str, type] = {
    "suite": SuiteConfig,
    "model": ModelSection,
    "runner": RunnerConfig,
    "logger": LoggerConfig,
}
TOP_LEVEL: tuple[str, ...] = ("seed", "run_id", "assets", "device")
