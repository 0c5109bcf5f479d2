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
    suite: str, task_id: int, *, assets: ManiSkillAssets, max_steps: int, success_rule: SuccessRule
) -> SimplerEnv:
    """Build one task of a suite; see its own builder.

    Raises:
        ValueError: no such suite or task.
    """
    if suite not in _BUILDERS:
        raise ValueError(f"suite: expected one of {', '.join(_BUILDERS)}, got {suite!r}")
    return _BUILDERS[suite](task_id, assets=assets, max_steps=max_steps, success_rule=success_rule)


def num_layouts(suite: str, task_id: int) -> int:
    """Episodes of one task."""
    return len(BRIDGE_TASKS[task_id].layouts if suite == bridge.SUITE else task_layouts(suite, task_id))
