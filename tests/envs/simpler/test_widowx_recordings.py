"""WidowX against the original simulator's recordings: free space, settled objects, flags of whole episodes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from runners.assets.maniskill import ManiSkillAssets

pytestmark = pytest.mark.simpler

EPISODES = [
    f"{layout}__{kind}"
    for layout in ("spoon_00", "spoon_09", "carrot_00", "carrot_10", "stack_00", "stack_12", "egg_00", "egg_14")
    for kind in ("probe", "purp")
]
#: Settled poses: z mm, xy mm, degrees.
TOLERANCES = (0.1, 1.0, 1.0)


@pytest.fixture(scope="module")
def replays(maniskill: ManiSkillAssets, oracles_dir: Path) -> dict[str, object]:
    """Every recording, replayed once."""
    from runners.envs.simpler.recorded_layouts import start_recorded
    from runners.envs.simpler.replay import read_recording, replay

    recordings = [read_recording(oracles_dir / f"simpler/episodes/{name}.npz") for name in EPISODES]
    return {one.name: replay(one, start_recorded(one, maniskill.root)) for one in recordings}


@pytest.mark.parametrize("name", EPISODES)
def test_tool_in_free_space(replays, name):
    from runners.envs.simpler.replay import FREE_ANGLE, FREE_DISTANCE

    assert replays[name].num_free >= 5
    assert replays[name].free_distance <= FREE_DISTANCE
    assert replays[name].free_angle <= FREE_ANGLE


@pytest.mark.parametrize("name", EPISODES)
def test_flags_at_the_last_step(replays, name):
    flags = replays[name].flags
    assert {"success", "src_on_target", "moved_correct_obj", "is_src_obj_grasped"} <= set(flags)
    assert [flag for flag, equal in flags.items() if not equal[-1]] == []


def test_flags_of_all_steps(replays):
    from runners.envs.simpler.replay import EQUAL_SHARE

    assert np.concatenate([one.equal for one in replays.values()]).mean() >= EQUAL_SHARE


def test_objects_settle_where_the_original_settles_them(maniskill: ManiSkillAssets, oracles_dir: Path):
    """Spoon, carrot and cubes; the tumbling eggplant has a test of its own."""
    from runners.envs.simpler.bridge import BridgeStart
    from runners.envs.simpler.bridge_tasks import BRIDGE_TASKS
    from runners.envs.simpler.replay import angle_between

    settled = json.loads((oracles_dir / "simpler/layouts_settled.json").read_text(encoding="utf-8"))
    task_of = {"widowx_spoon": 0, "widowx_carrot": 1, "widowx_stack": 2}
    checked = 0
    for name, expected in settled.items():
        family, layout = name.rsplit("/", 1)
        if family not in task_of:
            continue
        episode = BridgeStart(maniskill.root, BRIDGE_TASKS[task_of[family]]).start(int(layout))
        assert episode.instruction == expected["instruction"]
        assert episode.settle_phases == expected["settle_calls"]
        for body, pose in expected["poses"].items():
            z_mm, xy_mm, degrees = TOLERANCES
            ours = episode.objects[body].pose
            offset = 1e3 * np.abs(ours.p - np.array(pose[:3]))
            assert offset[2] <= z_mm, (name, body)
            assert np.linalg.norm(offset[:2]) <= xy_mm, (name, body)
            assert angle_between(ours.q.astype(float), np.array(pose[3:])) <= degrees, (name, body)
        checked += 1
    assert checked == 36


def test_masses_are_the_originals(maniskill: ManiSkillAssets, oracles_dir: Path):
    from runners.envs.simpler.objects import body_of
    from runners.envs.simpler.recorded_layouts import start_recorded
    from runners.envs.simpler.replay import read_recording

    for name in ("spoon_00__purp", "carrot_00__purp", "stack_00__purp", "egg_00__purp"):
        recording = read_recording(oracles_dir / f"simpler/episodes/{name}.npz")
        episode = start_recorded(recording, maniskill.root)
        for body, facts in recording.facts["objects"].items():
            assert body_of(episode.objects[body]).mass == pytest.approx(facts["mass"], rel=2e-4), body
        np.testing.assert_allclose(episode.robot.qpos, recording.facts["initial_qpos"], atol=1e-6)
