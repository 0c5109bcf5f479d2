"""What goes wrong outside the simulator is said in one clear line; what goes wrong inside marks the episode."""

from __future__ import annotations

import functools
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from runners.assets.maniskill import ManiSkillAssets, resolve_maniskill
from runners.envs.simpler import runtime

pytestmark = pytest.mark.simpler


def test_built_in_assets_do_not_exist():
    with pytest.raises(ValueError, match="SIMPLER needs ManiSkill's assets: add assets=auto"):
        resolve_maniskill("builtin")


def test_without_any_assets_the_commands_are_named(monkeypatch, tmp_path):
    monkeypatch.delenv("VLACACHE_ASSETS_DIR", raising=False)
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"download_asset bridge_v2_real2sim -y && .*googlerobot -y"):
        resolve_maniskill("auto")


def test_a_place_without_these_assets_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no ManiSkill \(SIMPLER\) assets; .*maniskill\.tar\.xz"):
        resolve_maniskill(str(tmp_path))
    with pytest.raises(ValueError, match="no folder or pack"):
        resolve_maniskill(str(tmp_path / "nowhere"))


def test_maniskills_own_download_is_official(monkeypatch, tmp_path):
    for folder in ("data/tasks/bridge_v2_real2sim_dataset", "data/robots"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").write_text("x")
    monkeypatch.delenv("VLACACHE_ASSETS_DIR", raising=False)
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path))
    found = resolve_maniskill("auto")
    assert (found.root, found.provenance.source, found.stand_ins) == (tmp_path, "official", frozenset())
    (tmp_path / "STANDINS.txt").write_text("# list\ntasks/a.glb | a slab\n")
    marked = resolve_maniskill(str(tmp_path))
    assert marked.stand_ins == {"tasks/a.glb"} and "1 stand-ins" in marked.provenance.detail


def test_the_pack_is_known_and_its_stand_ins_are_recorded(maniskill: ManiSkillAssets):
    provenance = maniskill.provenance
    assert provenance.source in ("shared-pack", "folder")
    assert "stages/bridge_table_1_v1.glb" in " ".join(maniskill.stand_ins)
    assert str(maniskill.root) not in str(provenance)


def test_a_missing_file_is_named(maniskill: ManiSkillAssets, tmp_path):
    from runners.envs.simpler.bridge import make_widowx_env

    root = tmp_path / "maniskill"
    shutil.copytree(
        maniskill.root, root, ignore=shutil.ignore_patterns("googlerobot", "*.jpg", "bridge_table_1_v1.glb")
    )
    env = make_widowx_env(0, assets=ManiSkillAssets(root, maniskill.provenance))
    with pytest.raises(RuntimeError, match=r"stages/bridge_table_1_v1\.glb is missing"):
        env.reset(init_index=0, seed=0)


def test_an_unknown_task_is_refused(maniskill: ManiSkillAssets):
    from runners.envs.simpler.bridge import make_widowx_env

    with pytest.raises(ValueError, match=r"tasks 0 \.\. 3, got 4"):
        make_widowx_env(4, assets=maniskill)


def test_no_vulkan_device_says_what_to_do(maniskill: ManiSkillAssets, monkeypatch):
    import sapien

    from runners.envs.simpler import picture
    from runners.envs.simpler.bridge import make_widowx_env

    def broken(*_):
        raise RuntimeError("vk::createInstance: ErrorIncompatibleDriver")

    monkeypatch.setattr(picture, "_canvas", functools.cache(picture.Canvas))  # none of an earlier test
    monkeypatch.setattr(sapien.render, "RenderSystem", broken)
    env = make_widowx_env(0, assets=maniskill)
    env.reset(init_index=0, seed=0)
    assert not env.step(np.zeros(7)).success  # physics needs no renderer
    with pytest.raises(RuntimeError, match=r"no Vulkan device for pictures .*make setup-simpler"):
        env.observe(env.spec.cameras)


def run_two_episodes(maniskill, tmp_path, cameras):
    """Three steps of layouts 0 and 1 through ``run_suite``; their records and every env that was built."""
    from runners.envs.simpler.bridge import make_widowx_env
    from runners.experts.simpler_widowx import WidowXExpert
    from runners.plan import plan_episodes
    from runners.store import RunStore
    from runners.suite import RunnerSettings, run_suite
    from tests.runner.helpers import make_run

    expert = WidowXExpert()
    expert.cameras = cameras
    made = []

    def make_env(task_id):
        made.append(make_widowx_env(task_id, assets=maniskill, max_steps=3))
        return made[-1]

    plan = plan_episodes("simpler_widowx", [0], 2, None, 0, "official", 24)
    record = replace(make_run(cache="none"), suite="simpler_widowx", assets=asdict(maniskill.provenance))
    with RunStore(tmp_path / "run", record) as store:
        run_suite(plan, make_env=make_env, baseline=expert, policy=None, store=store, settings=RunnerSettings())
        return {key.init_index: row for key, row in store.episodes.items()}, made


def test_a_failed_picture_marks_the_episode_and_the_next_one_gets_a_fresh_env(maniskill, monkeypatch, tmp_path):
    """``run_suite`` books an error, builds the env anew and goes on."""
    from runners.envs.simpler import picture

    draw, calls = picture.Canvas.draw, []

    def flaky(self, look, poses):
        calls.append(self)
        if len(calls) == 2:
            raise RuntimeError("the renderer lost its device")
        return draw(self, look, poses)

    monkeypatch.setattr(picture.Canvas, "draw", flaky)
    episodes, made = run_two_episodes(maniskill, tmp_path, cameras=("3rd_view_camera",))
    assert {index: row.status for index, row in episodes.items()} == {0: "error", 1: "failure"}
    assert "lost its device" in episodes[0].error
    assert len(made) == 2
    assert len(set(calls)) == 2, "the next episode is drawn on a new canvas"


def test_a_crash_in_the_simulator_marks_the_episode_and_the_next_one_gets_a_fresh_env(maniskill, monkeypatch, tmp_path):
    from runners.envs.simpler.bridge_episode import BridgeEpisode

    step, calls = BridgeEpisode.step, []

    def flaky(self, action):
        calls.append(id(self))
        if len(calls) == 2:
            raise RuntimeError("the physics engine gave up")
        return step(self, action)

    monkeypatch.setattr(BridgeEpisode, "step", flaky)
    episodes, made = run_two_episodes(maniskill, tmp_path, cameras=())
    assert {index: row.status for index, row in episodes.items()} == {0: "error", 1: "failure"}
    assert "gave up" in episodes[0].error and episodes[0].num_steps == 1
    assert len(made) == 2


def test_the_users_driver_is_kept(monkeypatch):
    monkeypatch.setenv("VK_ICD_FILENAMES", "drivers/my_icd.json")
    assert runtime.choose_driver() == "my_icd"


def test_lavapipe_is_chosen_where_there_is_no_nvidia_driver(monkeypatch, tmp_path):
    monkeypatch.setenv("VK_ICD_FILENAMES", "")
    monkeypatch.setattr(runtime, "NVIDIA_DRIVER", tmp_path / "none")
    monkeypatch.setattr(runtime, "SYSTEM_LAVAPIPE", ())
    monkeypatch.setattr(runtime, "LAVAPIPE", tmp_path)
    assert runtime.choose_driver() == "none"
    (tmp_path / "lvp_icd.json").write_text("{}")
    (tmp_path / "version").write_text("25.0.7\n")
    assert runtime.choose_driver() == "lavapipe mesa 25.0.7"


def test_an_nvidia_driver_is_left_to_vulkan(monkeypatch, tmp_path):
    monkeypatch.setenv("VK_ICD_FILENAMES", "")
    driver = tmp_path / "version"
    driver.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\n")
    monkeypatch.setattr(runtime, "NVIDIA_DRIVER", driver)
    assert runtime.choose_driver() == "nvidia 550.54.15"


def test_both_simulators_live_in_one_process(maniskill: ManiSkillAssets):
    pytest.importorskip("libero")
    from runners.assets import resolve_assets
    from runners.envs.libero import make_libero_env
    from runners.envs.simpler.bridge import make_widowx_env

    ours = make_widowx_env(2, assets=maniskill)
    ours.reset(init_index=0, seed=0)
    assert ours.observe(ours.spec.cameras).images["3rd_view_camera"].std() > 5
    theirs = make_libero_env(
        "libero_spatial", 0, assets=resolve_assets("builtin", suite="libero_spatial", render="fast")
    )
    theirs.reset(init_index=0, seed=0)
    assert theirs.observe(["agentview"]).images["agentview"].std() > 5
    assert ours.observe(ours.spec.cameras).images["3rd_view_camera"].std() > 5
    theirs.close()
    assert Path(maniskill.root).is_dir()
