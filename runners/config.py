"""The typed configuration of a run, and its check.

Values and their meaning are in ``configs/``; here are the types, the ranges and the words of the errors. Imports
nothing heavy, so that a mistake is reported at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, StrictStr, TypeAdapter, ValidationError

from runners.suggest import one_of, suggestion
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


def parse_config(raw: Mapping[str, Any], choices: Mapping[str, str]) -> RunConfig:
    """Check a composed config and give it types. The cache policy's numbers are checked by ``check_cache``.

    Args:
        raw: resolved config as plain containers. choices: group -> chosen file, e.g. ``{"suite": "toy", ...}``.

    Raises:
        ConfigError: unknown key, wrong type or value; one line for each, with a suggestion where there is one.
    """
    unknown = set(raw) - set(SECTIONS) - set(TOP_LEVEL) - {"cache"}
    if unknown:
        raise ConfigError("\n".join(f"unknown key '{key}'{suggestion(key, TOP_LEVEL)}" for key in sorted(unknown)))
    data: dict[str, Any] = {key: raw[key] for key in TOP_LEVEL if key in raw}
    data["assets"] = data.get("assets") or default_assets(choices["suite"])
    if choices["suite"] not in NUM_TASKS:
        raise ConfigError(f"suite={choices['suite']}: no such suite; {one_of(NUM_TASKS)}")
    for section in SECTIONS:
        data[section] = {"name": choices[section], **(raw.get(section) or {})}
    numbers = {key: value for key, value in (raw.get("cache") or {}).items() if key != "name"}
    data["cache"] = {"name": choices["cache"], "numbers": numbers}
    config: RunConfig = validate(RunConfig, data)
    _check_episodes(config.suite)
    _check_backend(config.suite)
    _check_settings(config.suite)
    _check_device(config.device)
    _check_run_id(config.run_id)
    _check_arms(config)
    return config


def default_assets(suite: str) -> str:
    """What ``assets=null`` means: this project generates assets for LIBERO, SIMPLER's have to be there."""
    return "auto" if suite.startswith("simpler_") else "builtin"


def check_cache(cache: CacheSection) -> None:
    """Check the cache policy's numbers against its dataclass (imports torch, about 2 s).

    Raises:
        ConfigError: unknown key, wrong type or value.
    """
    from vlacache.core.policies import CACHE_POLICIES, build_cache_policy

    for key, value in cache.numbers.items():
        if isinstance(value, bool) and "bool" not in str(CACHE_POLICIES[cache.name].__annotations__.get(key)):
            raise ConfigError(f"cache.{key}: expected a number, got {value}")
    try:
        validate(CACHE_POLICIES[cache.name], cache.numbers, prefix="cache.")
        build_cache_policy(cache.name, cache.numbers)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def validate(target: type, data: Mapping[str, Any], prefix: str = "") -> Any:
    """Build ``target`` from plain data, every wrong entry one line of a ``ConfigError``."""
    try:
        return TypeAdapter(target).validate_python(dict(data))
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False):
            line = _describe(problem, prefix)
            if line not in lines:
                lines.append(line)
        raise ConfigError("\n".join(lines)) from None


def _describe(problem: Mapping[str, Any], prefix: str) -> str:
    """One pydantic problem in the words of the command line: ``suite.task_ids[1]: expected ..., got 'x'``."""
    key = prefix
    for part in problem["loc"]:
        if isinstance(part, int):
            key = f"{key.rstrip('.')}[{part}]."
        elif not part.startswith(("tuple[", "constrained-", "literal[", "function-", "lax-or-strict")):
            key += f"{part}."
    key = key.rstrip(".")
    got = problem["input"]
    kind = problem["type"]
    if kind == "literal_error":
        expected = problem["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return f"{key}={got}: expected one of {expected}{suggestion(str(got), expected.split(', '))}"
    if kind == "missing":
        return f"{key}: required and absent; the file of its group in configs/ must set it"
    if kind == "value_error":
        return str(problem["ctx"]["error"])  # raised by the policy's own check, which names its key
    if kind == "greater_than_equal":
        return f"{key}: expected {problem['ctx']['ge']} or more, got {got!r}"
    return f"{key}: expected {_EXPECTED.get(kind) or problem['msg'].removeprefix('Input should be ')}, got {got!r}"


_EXPECTED: dict[str, str] = {
    "int_type": "an integer",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list such as [0,3]",
    "float_type": "a number",
    "float_parsing": "a number",
    "int_parsing": "an integer",
}


def _check_episodes(suite: SuiteConfig) -> None:
    num_tasks = NUM_TASKS[suite.name]
    if suite.max_steps is None and suite.name not in TASK_MAX_STEPS:
        raise ConfigError(f"suite.max_steps: expected an integer, got null; {suite.name} has one limit for its tasks")
    if (suite.protocol is not None) != suite.name.startswith("simpler_"):
        raise ConfigError(f"suite.protocol={suite.protocol}: of SIMPLER's suites, got suite={suite.name}")
    outside = [task for task in suite.tasks if task >= num_tasks]
    if outside:
        raise ConfigError(f"suite.task_ids: {suite.name} has tasks 0 .. {num_tasks - 1}, got {outside}")
    for key, values in (("task_ids", suite.task_ids), ("init_indices", suite.init_indices)):
        if values is not None and (not values or len(set(values)) < len(values)):
            raise ConfigError(
                f"suite.{key}: expected at least one number, each once, got {list(values)}; null means all"
            )


def _check_backend(suite: SuiteConfig) -> None:
    own = {"toy": "toy"}.get(suite.name, "simpler" if suite.name.startswith("simpler_") else "libero")
    if suite.backend not in (own, "simpler_env" if own == "simpler" else own):
        raise ConfigError(f"suite.backend={suite.backend}: suite={suite.name} runs on {own}")
    if suite.protocol == "maniskill3" and suite.name != "simpler_widowx":
        raise ConfigError(
            f"suite.protocol=maniskill3: ManiSkill 3 has the tasks of simpler_widowx alone, got suite={suite.name}"
        )


def _check_settings(suite: SuiteConfig) -> None:
    if suite.settings is None:
        return
    from runners.envs.simpler.selection import check_settings

    if suite.init_indices is not None:
        raise ConfigError("suite.settings and suite.init_indices both choose layouts: give one of them")
    try:
        check_settings(suite.name, suite.tasks, suite.settings)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _check_device(device: str) -> None:
    name, _, index = device.partition(":")
    if name not in ("auto", "cpu", "cuda") or (index and (name != "cuda" or not index.isdigit())):
        raise ConfigError(
            f"device={device}: expected auto, cpu, cuda or cuda:<n>{suggestion(device, ('auto', 'cpu', 'cuda'))}"
        )


def _check_run_id(run_id: str | None) -> None:
    """A run id becomes a folder below ``results/``: ``demo`` or, inside a sweep, ``<sweep_id>/<arm>``."""
    if run_id is None:
        return
    parts = run_id.split("/")
    too_long = [p for p in parts if len(p) > _RUN_ID_LENGTH]
    if too_long:
        raise ConfigError(
            f"run_id={run_id[:30]}...: expected at most {_RUN_ID_LENGTH} characters, got {len(too_long[0])}"
        )
    if len(parts) > 2 or any(not p or p.startswith(".") or set(p) - _RUN_ID_CHARACTERS for p in parts):
        raise ConfigError(
            f"run_id={run_id}: expected letters, digits and . _ - and at most one / (<sweep>/<arm>), no leading dot"
        )


#: Of each part: file systems take 255 bytes, and other tools add to the name.
_RUN_ID_LENGTH = 120
_RUN_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def _check_arms(config: RunConfig) -> None:
    name = config.model.name
    if name in ONE_ARM_MODELS and config.cache.name != "none":
        raise ConfigError(f"model={name} {ONE_ARM_MODELS[name]}, got cache={config.cache.name}: add cache=none")
    if (name == "blind") != (config.model.base is not None):
        raise ConfigError("model.base: the model to blind, needed by model=blind and by no other")
    if name == "replay" and config.suite.backend != "libero":
        raise ConfigError(f"model=replay plays training episodes of a LIBERO suite, got suite={config.suite.name}")
    if name == "expert" and (config.suite.backend == "simpler_env" or config.suite.protocol == "maniskill3"):
        raise ConfigError(
            "model=expert reads the state of our own simulator: add suite.backend=simpler suite.protocol=simpler"
        )
    if name in ("expert", "replay"):
        from runners.experts import EXPERTS

        if config.suite.name not in EXPERTS:
            raise ConfigError(
                f"model={name}: no expert is written for suite={config.suite.name}; {one_of(EXPERTS)}, or another model"
            )
    if config.runner.self_pair and config.cache.name != "none":
        raise ConfigError(
            f"runner.self_pair compares the baseline with itself, got cache={config.cache.name}: add cache=none"
        )
