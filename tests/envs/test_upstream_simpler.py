"""The original package behind the env contract, with a stub of its interface."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from runners.envs.base import Env
from runners.envs.upstream_simpler import make_upstream_env, upstream_tasks
from runners.overrides import compose_run
from runners.simulators import build_simulator

#: Keywords of a build that its recordings do not name: they change pictures only, or the length.
PICTURE_KEYWORDS = {"obs_mode", "camera_cfgs", "max_episode_steps", "shader_dir"}


class StubEnv:
    """What ``simpler_env.make`` returns, as far as it is used: succeeds at steps 2 and 3, not at 4."""

    def __init__(self, name, **keywords):
        self.name, self.keywords, self.steps, self.options, self.closed = name, keywords, 0, None, False

    def _observation(self):
        image = np.full((480, 640, 3), 10 * self.steps, np.uint8)
        camera = "overhead_camera" if self.keywords else "3rd_view_camera"
        return {"image": {camera: {"rgb": image}}, "agent": {"qpos": np.zeros(8)}}

    def reset(self, seed=None, options=None):
        self.steps, self.options = 0, options
        return self._observation(), {}

    def step(self, action):
        assert action.shape == (7,)
        self.steps += 1
        success = self.steps in (2, 3)
        return self._observation(), float(success), success, False, {"success": success}

    def get_language_instruction(self):
        return "put carrot on plate" if self.steps < 3 else "something else"

    def close(self):
        self.closed = True


@pytest.fixture
def package(monkeypatch):
    """``simpler_env`` as a module; its envs in the order of their making."""
    made = []

    def make(name, **keywords):
        made.append(StubEnv(name, **keywords))
        return made[-1]

    modules = {
        "simpler_env": SimpleNamespace(make=make),
        "simpler_env.utils.env.env_builder": SimpleNamespace(build_maniskill2_env=make),
        "mani_skill2_real2sim": SimpleNamespace(ASSET_DIR=Path("data")),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return made


def test_an_episode_runs_on_after_a_success(package):
    env = make_upstream_env("simpler_widowx", 1, max_steps=4)
    assert isinstance(env, Env) and package[0].name == "widowx_carrot_on_plate"
    assert not env.reset(init_index=5, seed=0).success
    steps = [env.step(np.zeros(7)) for _ in range(4)]
    assert [step.success for step in steps] == [False, True, True, False]
    assert [step.done for step in steps] == [False, False, False, True]
    with pytest.raises(RuntimeError, match="ended"):
        env.step(np.zeros(7))


def test_layouts_are_the_scripts_own(package):
    env = make_upstream_env("simpler_widowx", 3)
    env.reset(init_index=23, seed=0)
    options = package[0].options
    assert options["obj_init_options"] == {"episode_id": 23}
    np.testing.assert_allclose(options["robot_init_options"]["init_xy"], [0.127, 0.06])
    assert [len(task.layouts) for task in upstream_tasks("simpler_widowx")] == [24] * 4
    with pytest.raises(ValueError, match="init_index"):
        env.reset(init_index=24, seed=0)


def test_pictures_and_the_instruction_are_those_of_now(package):
    env = make_upstream_env("simpler_widowx", 1)
    env.reset(init_index=0, seed=0)
    for _ in range(3):
        env.step(np.zeros(7))
    observation = env.observe(["3rd_view_camera"])
    image = observation.images["3rd_view_camera"]
    assert image.dtype == np.uint8 and image.shape == (480, 640, 3) and (image == 30).all()
    assert observation.instruction == "something else" and observation.step == 3
    with pytest.raises(ValueError, match="no_such"):
        env.observe(["no_such"])


def test_floats_of_older_versions_become_bytes(package):
    from runners.envs.upstream_simpler import _picture

    assert (_picture({"Color": np.full((2, 2, 4), 0.5)}) == 127).all()
    with pytest.raises(RuntimeError, match="rgb or Color"):
        _picture({"Depth": np.zeros((2, 2, 1))})


def test_bad_actions_do_not_reach_the_simulator(package):
    env = make_upstream_env("simpler_widowx", 0)
    env.reset(init_index=0, seed=0)
    for bad in (np.zeros(6), np.full(7, np.nan)):
        with pytest.raises(ValueError, match="action"):
            env.step(bad)
    assert package[0].steps == 0
    env.close()
    env.close()
    assert package[0].closed


def test_the_suite_is_built_through_the_package(package):
    config = compose_run(["suite=simpler_widowx", "suite.backend=simpler_env", "model=cogact"]).config
    simulator = build_simulator(config)
    assert simulator.versions["backend"] == "simpler_env"
    assert simulator.make_env(2).spec.max_steps == 60
    assert simulator.num_init_states == dict.fromkeys(range(4), 24)


def test_without_the_package_the_error_says_where_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "simpler_env", None)
    with pytest.raises(RuntimeError, match=r"github\.com/simpler-env/SimplerEnv"):
        build_simulator(compose_run(["suite=simpler_widowx", "suite.backend=simpler_env", "model=cogact"]).config)


def test_google_envs_are_built_anew_when_their_colours_change(package):
    env = make_upstream_env("simpler_google_vm", 0)
    env.reset(init_index=3, seed=0)
    env.reset(init_index=24, seed=0)
    assert len(package) == 1 and not package[0].closed
    assert package[0].keywords["lr_switch"] and package[0].keywords["urdf_version"] is None
    assert package[0].keywords["rgb_overlay_path"] == "data/real_inpainting/google_coke_can_real_eval_1.png"
    env.reset(init_index=25, seed=0)
    assert package[0].closed
    assert package[1].keywords["urdf_version"] == "recolor_tabletop_visual_matching_1"
    assert env.spec.setting == "arm_tabletop_1"
    assert env.spec.instruction == env.observe().instruction
    assert env.observe(["overhead_camera"]).images["overhead_camera"].shape == (480, 640, 3)


def test_every_setting_has_keywords_of_its_own():
    """Variant aggregation: 9 settings of the can, 8 of move near, 7 of each drawer; no two build the same env."""
    for task_id, count in ((0, 9), (3, 8), (4, 7), (9, 7), (10, 7)):
        layouts = upstream_tasks("simpler_google_va")[task_id].layouts
        assert len({repr((layout.env, layout.keywords)) for layout in layouts}) == count
        assert all(layout.photo is None for layout in layouts)


def test_google_layouts_are_those_of_the_recordings(oracles_dir):
    """The original's recordings name what their env was built with and how it was reset."""
    task_of = {"coke_h": 0, "coke_v": 1, "coke_u": 2, "near": 3, "place": 10}
    found = 0
    for path in sorted((oracles_dir / "simpler/episodes").glob("*__purp.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        task_id = next((task for name, task in task_of.items() if path.name.startswith(name)), None)
        if task_id is None:
            continue
        wanted = {**facts["make_kwargs"]}
        matches = [
            layout
            for layout in upstream_tasks("simpler_google_vm")[task_id].layouts
            if layout.env == facts["env_id"]
            and {key: value for key, value in layout.keywords.items() if key not in PICTURE_KEYWORDS} == wanted
            and same_options(layout.options, facts["reset_options"])
        ]
        assert len(matches) == 1, path.name
        found += 1
    assert found >= 8


def same_options(ours, theirs):
    """Both tables hold the same numbers; a quaternion may have either sign."""
    for group in ("robot_init_options", "obj_init_options"):
        if ours[group].keys() != theirs[group].keys():
            return False
        for key, value in ours[group].items():
            other = np.asarray(theirs[group][key], dtype=float)
            sign = -1.0 if key == "init_rot_quat" and float(np.dot(value, other)) < 0 else 1.0
            if not np.allclose(value, sign * other, atol=1e-6):
                return False
    return True
