"""``suite=simpler_google_vm`` and ``simpler_google_va``: SIMPLER's eleven Google robot tasks."""

from __future__ import annotations

from pathlib import Path

from runners.assets.maniskill import ManiSkillAssets
from runners.envs.base import EnvSpec, SuccessRule
from runners.envs.simpler.env import LayoutFacts, SimplerEnv
from runners.envs.simpler.google_episode import GoogleEpisode
from runners.envs.simpler.google_layouts import GoogleLayout
from runners.envs.simpler.google_look import CAMERA
from runners.envs.simpler.google_robot import CONTROL_HZ
from runners.envs.simpler.google_settle import with_distractors
from runners.envs.simpler.google_stage import stage_path
from runners.envs.simpler.google_tasks import GOOGLE_TASKS, GoogleTask, instruction_of, task_layouts
from runners.envs.simpler.objects import MODELS
from runners.envs.simpler.runtime import prepare
from vlacache.types import SIMPLER_GOOGLE_ACTION_SPEC


class GoogleStart:
    """Starts episodes of one task from the assets at ``root``."""

    def __init__(self, root: Path, suite: str, task_id: int) -> None:
        self._root = root
        self._task = GOOGLE_TASKS[task_id]
        self._layouts = task_layouts(suite, task_id)

    def start(self, init_index: int) -> GoogleEpisode:
        """Layout ``init_index``, see ``task_layouts``."""
        return GoogleEpisode(self._root, self._task, self._layouts[init_index])


def make_google_env(
    suite: str,
    task_id: int,
    *,
    assets: ManiSkillAssets,
    max_steps: int | None = None,
    success_rule: SuccessRule = "final_step",
    sensor_noise: float = 0.0,
) -> SimplerEnv:
    """Build one task.

    Args:
        suite: ``simpler_google_vm`` or ``simpler_google_va``. task_id: 0-2 pick coke can (horizontal, vertical,
            standing), 3 move near, 4-6 open and 7-9 close the top, middle and bottom drawer, 10 place apple.
        assets: from ``resolve_maniskill``. max_steps: None for upstream's (80, 113 for drawers, 200 for the apple).
        sensor_noise: see ``SimplerEnv``.

    Raises:
        ValueError: no such task. RuntimeError: a package or a file of the assets is missing.
    """
    if not 0 <= task_id < len(GOOGLE_TASKS):
        raise ValueError(f"suite.task_ids: {suite} has tasks 0 .. {len(GOOGLE_TASKS) - 1}, got {task_id}")
    task = GOOGLE_TASKS[task_id]
    layouts = task_layouts(suite, task_id)
    spec = EnvSpec(
        suite=suite,
        task_id=task_id,
        instruction=instruction_of(task, layouts[0]),
        control_hz=CONTROL_HZ,
        max_steps=task.max_steps if max_steps is None else max_steps,
        cameras=(CAMERA,),
        action_spec=SIMPLER_GOOGLE_ACTION_SPEC,
        success_rule=success_rule,
        num_init_states=len(layouts),
        assets=assets.provenance,
        versions={**prepare(), "protocol": "simpler"},
    )
    facts = [_facts(assets, task, layout) for layout in layouts]
    return SimplerEnv(spec, GoogleStart(assets.root, suite, task_id), facts, sensor_noise)


def _facts(assets: ManiSkillAssets, task: GoogleTask, layout: GoogleLayout) -> LayoutFacts:
    shown = [MODELS / placed.model for placed in with_distractors(layout)]
    if layout.photo is None:
        shown.append(stage_path(layout.setting.stage))
    return LayoutFacts(instruction_of(task, layout), layout.setting_name, assets.stand_ins_among(shown))
