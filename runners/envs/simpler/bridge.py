"""``suite=simpler_widowx``: the four WidowX tasks of SIMPLER."""

from __future__ import annotations

from pathlib import Path

from runners.assets.maniskill import ManiSkillAssets
from runners.envs.base import EnvSpec, SuccessRule
from runners.envs.simpler.bridge_episode import BridgeEpisode
from runners.envs.simpler.bridge_look import CAMERA
from runners.envs.simpler.bridge_tasks import BRIDGE_TASKS, BridgeTask
from runners.envs.simpler.env import LayoutFacts, SimplerEnv
from runners.envs.simpler.objects import MODELS
from runners.envs.simpler.runtime import prepare
from runners.envs.simpler.widowx import RECIPE
from vlacache.types import SIMPLER_WIDOWX_ACTION_SPEC

SUITE = "simpler_widowx"


class BridgeStart:
    """Starts episodes of one task from the assets at ``root``."""

    def __init__(self, root: Path, task: BridgeTask) -> None:
        self._root = root
        self._task = task

    def start(self, init_index: int) -> BridgeEpisode:
        """Layout ``init_index``, upstream's ``episode_id``."""
        return BridgeEpisode(self._root, self._task, init_index)


def make_widowx_env(
    task_id: int,
    *,
    assets: ManiSkillAssets,
    max_steps: int | None = None,
    success_rule: SuccessRule = "final_step",
    sensor_noise: float = 0.0,
) -> SimplerEnv:
    """Build one task.

    Args:
        task_id: 0 spoon on towel, 1 carrot on plate, 2 stack cubes, 3 eggplant in basket.
        assets: from ``resolve_maniskill``. max_steps: None for upstream's (60, 60, 60, 120).
        sensor_noise: see ``SimplerEnv``.

    Raises:
        ValueError: no such task. RuntimeError: a package or a file of the assets is missing.
    """
    if not 0 <= task_id < len(BRIDGE_TASKS):
        raise ValueError(f"suite.task_ids: {SUITE} has tasks 0 .. {len(BRIDGE_TASKS) - 1}, got {task_id}")
    task = BRIDGE_TASKS[task_id]
    spec = EnvSpec(
        suite=SUITE,
        task_id=task_id,
        instruction=task.instruction,
        control_hz=RECIPE.control_hz,
        max_steps=task.max_steps if max_steps is None else max_steps,
        cameras=(CAMERA,),
        action_spec=SIMPLER_WIDOWX_ACTION_SPEC,
        success_rule=success_rule,
        num_init_states=len(task.layouts),
        assets=assets.provenance,
        versions={**prepare(), "protocol": "simpler"},
    )
    return SimplerEnv(spec, BridgeStart(assets.root, task), bridge_facts(assets, task), sensor_noise)


def bridge_facts(assets: ManiSkillAssets, task: BridgeTask, num_layouts: int | None = None) -> list[LayoutFacts]:
    """Facts of each layout, SIMPLER's own unless a number is given; table and sink are hidden behind the photo."""
    shown = [MODELS / name for name in (task.source, task.target)]
    facts = LayoutFacts(task.instruction, stand_ins=assets.stand_ins_among(shown))
    return [facts] * (len(task.layouts) if num_layouts is None else num_layouts)
