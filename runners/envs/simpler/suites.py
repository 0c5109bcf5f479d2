"""The SIMPLER suites by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from runners.assets.maniskill import ManiSkillAssets
from runners.envs.base import SuccessRule
from runners.envs.simpler import bridge
from runners.envs.simpler.bridge_tasks import BRIDGE_TASKS
from runners.envs.simpler.env import SimplerEnv
from runners.envs.simpler.google import make_google_env
from runners.envs.simpler.google_tasks import VA_SUITE, VM_SUITE, task_layouts

_BUILDERS: dict[str, Callable[..., SimplerEnv]] = {
    bridge.SUITE: bridge.make_widowx_env,
    VM_SUITE: partial(make_google_env, VM_SUITE),
    VA_SUITE: partial(make_google_env, VA_SUITE),
}


def make_simpler_env(
    suite: str,
    task_id: int,
    *,
    assets: ManiSkillAssets,
    max_steps: int,
    success_rule: SuccessRule,
    protocol: str = "simpler",
    sensor_noise: float = 0.0,
) -> SimplerEnv:
    """Build one task of a suite; see its own builder.

    Args:
        protocol: ``simpler``, or ``maniskill3`` for ManiSkill's own WidowX tasks.

    Raises:
        ValueError: no such suite or task, or a suite that ManiSkill does not have.
    """
    if suite not in _BUILDERS:
        raise ValueError(f"suite: expected one of {', '.join(_BUILDERS)}, got {suite!r}")
    settings = {"max_steps": max_steps, "success_rule": success_rule, "sensor_noise": sensor_noise}
    if protocol == "simpler":
        return _BUILDERS[suite](task_id, assets=assets, **settings)
    if suite != bridge.SUITE:
        raise ValueError(f"suite.protocol={protocol}: ManiSkill 3 has the tasks of {bridge.SUITE} alone, got {suite}")
    from runners.envs.simpler.maniskill_protocol import make_maniskill_env

    return make_maniskill_env(task_id, assets=assets, **settings)


def num_layouts(suite: str, task_id: int, protocol: str = "simpler") -> int:
    """Episodes of one task."""
    if protocol == "maniskill3" and suite == bridge.SUITE:
        from runners.envs.simpler.maniskill_protocol import TASKS

        return TASKS[task_id][1]
    return len(BRIDGE_TASKS[task_id].layouts if suite == bridge.SUITE else task_layouts(suite, task_id))
