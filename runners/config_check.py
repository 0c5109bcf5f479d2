"""Checks of a run's config that concern more than one key, and the words of their errors."""

from __future__ import annotations

from runners.config import ONE_ARM_MODELS, ConfigError, RunConfig, SuiteConfig
from runners.suggest import one_of, suggestion
from runners.suite_names import NUM_TASKS, TASK_MAX_STEPS


def check_config(config: RunConfig) -> None:
    """Refuse keys that do not go together.

    Raises:
        ConfigError: the first such mistake.
    """
    _check_episodes(config.suite)
    _check_states(config.suite)
    _check_backend(config.suite)
    _check_placement(config.suite)
    _check_settings(config.suite)
    _check_device(config.device)
    _check_run_id(config.run_id)
    _check_arms(config)


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


def _check_states(suite: SuiteConfig) -> None:
    if suite.init_indices is not None and suite.first_state:
        raise ConfigError(
            f"suite.first_state={suite.first_state} and suite.init_indices both choose states: give one of them"
        )


def _check_backend(suite: SuiteConfig) -> None:
    own = {"toy": "toy"}.get(suite.name, "simpler" if suite.name.startswith("simpler_") else "libero")
    if suite.backend not in (own, "simpler_env" if own == "simpler" else own):
        raise ConfigError(f"suite.backend={suite.backend}: suite={suite.name} runs on {own}")
    if suite.protocol == "maniskill3" and suite.name != "simpler_widowx":
        raise ConfigError(
            f"suite.protocol=maniskill3: ManiSkill 3 has the tasks of simpler_widowx alone, got suite={suite.name}"
        )


def _check_placement(suite: SuiteConfig) -> None:
    if suite.placement != "wide":
        return
    from runners.envs.wide.layout import SUITE

    if suite.name != SUITE:
        raise ConfigError(
            f"suite.placement=wide: written for suite={SUITE}, got suite={suite.name}; use suite.placement=official"
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
