"""The scripted expert of the Google robot: contacts, controller and rules work together. All layouts: ``-m slow``."""

from __future__ import annotations

import os

import pytest

from runners.assets.maniskill import ManiSkillAssets

pytestmark = [
    pytest.mark.simpler,
    pytest.mark.skipif(not os.environ.get("VLACACHE_ASSETS_DIR"), reason="VLACACHE_ASSETS_DIR is not set"),
]
#: Layouts of one colour of the arm: the others differ in looks alone.
PLACES = {0: 25, 1: 25, 2: 25, 3: 60, 4: 9, 5: 9, 6: 9, 7: 9, 8: 9, 9: 9, 10: 27}


def successes(maniskill: ManiSkillAssets, task_id: int, layouts: range) -> int:
    from runners.envs.simpler.google import make_google_env
    from runners.experts import build_expert

    env = make_google_env("simpler_google_vm", task_id, assets=maniskill)
    expert = build_expert("simpler_google_vm")
    count = 0
    for index in layouts:
        expert.attach(env)
        expert.reset(0)
        now = env.reset(init_index=index, seed=0)
        while not now.done:
            now = env.step(expert.infer(env.observe()).actions[0])
        count += now.success
    env.close()
    return count


@pytest.mark.parametrize("task_id", [1, 5, 8])
def test_one_layout(maniskill: ManiSkillAssets, task_id: int) -> None:
    assert successes(maniskill, task_id, range(1)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("task_id", [*range(3), *range(4, 10)])
def test_picks_and_drawers(maniskill: ManiSkillAssets, task_id: int) -> None:
    assert successes(maniskill, task_id, range(PLACES[task_id])) > 0.9 * PLACES[task_id]


@pytest.mark.slow
@pytest.mark.parametrize(("task_id", "share"), [(3, 0.8), (10, 0.9)])
def test_move_near_and_apple(maniskill: ManiSkillAssets, task_id: int, share: float) -> None:
    assert successes(maniskill, task_id, range(PLACES[task_id])) > share * PLACES[task_id]
