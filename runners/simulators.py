"""From a suite's name to its simulator: the only module that joins the two.

Heavy imports happen inside the functions, so that a mistake in the command is reported before a simulator is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from runners.config import RunConfig, SuiteConfig
from runners.envs.base import AssetProvenance, Env
from runners.plan import PairPlan
from runners.suite_names import LIBERO_INIT_STATES


@dataclass(frozen=True, slots=True)
class Simulator:
    """Envs of one suite.

    Attributes:
        make_env: task id -> env. num_init_states: valid initial states of every task, or of each, are 0 .. n-1.
        assets: provenance, the same for every task. versions: facts for the run record (mujoco, renderer ...).
        order: of each task, the initial states that the run may take, the first of them first; None for all in order.
        check_plan: raises ``RuntimeError`` when an episode of the plan lacks its files.
    """

    make_env: Callable[[int], Env]
    num_init_states: int | Mapping[int, int]
    assets: AssetProvenance
    versions: Mapping[str, str] = field(default_factory=dict)
    order: Mapping[int, Sequence[int]] | None = None
    check_plan: Callable[[Sequence[PairPlan]], None] = lambda plan: None


def build_simulator(config: RunConfig) -> Simulator:
    """Envs of ``config.suite``.

    Raises:
        ValueError: an asset folder or render mode that does not exist. RuntimeError: the simulator is not installed or
            its assets cannot be had.
    """
    builders: dict[str, Callable[[RunConfig], Simulator]] = {
        "toy": _toy,
        "libero": _libero,
        "simpler": _simpler,
        "simpler_env": _upstream_simpler,
    }
    return builders[config.suite.backend](config)


def _toy(config: RunConfig) -> Simulator:
    from runners.envs.toy import make_toy_env

    suite = config.suite

    def make_env(task_id: int) -> Env:
        return make_toy_env(task_id, max_steps=suite.step_limit(task_id), success_rule=suite.success_rule)

    spec = make_env(0).spec
    return Simulator(make_env, spec.num_init_states, spec.assets, spec.versions)


def _libero(config: RunConfig) -> Simulator:
    from runners.assets import resolve_assets
    from runners.envs.libero import make_libero_env
    from runners.envs.libero_runtime import prepare

    suite = config.suite
    assets = resolve_assets(config.assets, suite=suite.name, render=render_mode(suite, config.assets))

    def make_env(task_id: int) -> Env:
        return make_libero_env(
            suite.name,
            task_id,
            assets=assets,
            max_steps=suite.step_limit(task_id),
            reseed=suite.reseed,
            placement=suite.placement,
            render=assets.provenance.render,
            success_rule=suite.success_rule,
        )

    return Simulator(make_env, LIBERO_INIT_STATES[suite.placement], assets.provenance, prepare(assets.root))


def _simpler(config: RunConfig) -> Simulator:
    from runners.assets.maniskill import resolve_maniskill
    from runners.envs.simpler.runtime import prepare

    suite = config.suite
    assets = resolve_maniskill(config.assets)
    versions = prepare()
    from runners.envs.simpler.complete import check_files
    from runners.envs.simpler.picture import check_renderer
    from runners.envs.simpler.suites import make_simpler_env, num_layouts

    protocol = suite.protocol or "simpler"

    def make_env(task_id: int) -> Env:
        return make_simpler_env(
            suite.name,
            task_id,
            protocol=protocol,
            assets=assets,
            max_steps=suite.step_limit(task_id),
            success_rule=suite.success_rule,
            sensor_noise=suite.sensor_noise,
        )

    def check_plan(plan: Sequence[PairPlan]) -> None:
        if protocol == "simpler":
            check_files(assets.root, suite.name, [(pair.task_id, pair.init_index) for pair in plan])
        if config.model.name not in ("expert", "replay") or config.runner.video != "none":
            check_renderer()

    layouts = {task: num_layouts(suite.name, task, protocol) for task in suite.tasks}
    order = _settings_order(suite)
    facts = {**versions, "protocol": protocol}
    return Simulator(make_env, layouts, assets.provenance, facts, order, check_plan)


def _settings_order(suite: SuiteConfig) -> dict[int, tuple[int, ...]] | None:
    """Layouts of each task, evenly over the chosen settings; None for a suite without settings."""
    from runners.envs.simpler.selection import select_layouts, setting_names

    if not setting_names(suite.name, 0):
        return None
    return {task: select_layouts(suite.name, task, suite.settings) for task in suite.tasks}


def _upstream_simpler(config: RunConfig) -> Simulator:
    from runners.envs.upstream_simpler import (
        make_upstream_env,
        upstream_provenance,
        upstream_tasks,
        upstream_versions,
    )

    suite = config.suite
    if suite.protocol != "simpler" or suite.sensor_noise > 0:
        raise ValueError("suite.backend=simpler_env: expected suite.protocol=simpler and suite.sensor_noise=0")

    def make_env(task_id: int) -> Env:
        return make_upstream_env(
            suite.name, task_id, max_steps=suite.step_limit(task_id), success_rule=suite.success_rule
        )

    tasks = upstream_tasks(suite.name)
    layouts = {task: len(tasks[task].layouts) for task in suite.tasks}
    return Simulator(make_env, layouts, upstream_provenance(), upstream_versions(), _settings_order(suite))


def render_mode(suite: SuiteConfig, assets: str) -> str:
    """``suite.render``, or what fits the assets: the built-in ones were made for ``fast``."""
    if suite.render is not None:
        return suite.render
    return "fast" if assets == "builtin" else "reference"
