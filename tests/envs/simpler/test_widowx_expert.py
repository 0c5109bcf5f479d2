"""The scripted expert solves the WidowX tasks: contacts, controller and success rules fit together."""

from __future__ import annotations

import numpy as np
import pytest

from runners.assets.maniskill import ManiSkillAssets
from runners.experts import build_expert

pytestmark = pytest.mark.simpler


def solved(maniskill: ManiSkillAssets, task_id: int, layout: int) -> bool:
    """Whether the expert's episode is a success at its last step."""
    from runners.envs.simpler.bridge import make_widowx_env

    env = make_widowx_env(task_id, assets=maniskill, max_steps=60)
    expert = build_expert("simpler_widowx")
    expert.attach(env)
    expert.reset(0)
    now = env.reset(init_index=layout, seed=0)
    while not now.done:
        now = env.step(expert.infer(env.observe()).actions[0])
    return now.success


@pytest.mark.parametrize("task_id", range(4))
@pytest.mark.parametrize("layout", [1, 22])
def test_two_layouts_of_each_task(maniskill, task_id, layout):
    assert solved(maniskill, task_id, layout)


@pytest.mark.slow
@pytest.mark.parametrize("task_id", range(4))
def test_more_than_80_percent_of_all_layouts(maniskill, task_id):
    assert sum(solved(maniskill, task_id, layout) for layout in range(24)) > 0.8 * 24


@pytest.mark.slow
def test_24_episodes_in_one_process_need_no_more_memory_than_three(maniskill):
    import psutil

    from runners.envs.simpler.bridge import make_widowx_env

    env, sizes = make_widowx_env(3, assets=maniskill), []
    for layout in range(24):
        env.reset(init_index=layout, seed=0)
        for _ in range(5):
            env.step(np.zeros(7))
            env.observe(env.spec.cameras)
        sizes.append(psutil.Process().memory_info().rss)
    assert max(sizes[3:]) <= 1.05 * sizes[2]
