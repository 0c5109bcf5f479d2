"""``runners/build.py`` hands every key on; ``runners/launch.py`` finds the run to continue."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from runners.build import build_arms, resolve_device, seed_everything
from runners.launch import continue_command, find_unfinished, launch, make_plan, make_record, with_model
from runners.overrides import compose_run
from runners.simulators import build_simulator
from vlacache.checkout import git_commit


@pytest.fixture
def toy():
    return compose_run(["suite=toy", "cache=none", "device=cpu", "model=expert"])


def test_libero_gets_every_suite_key(monkeypatch):
    pytest.importorskip("mujoco")
    import runners.assets
    import runners.envs.libero
    import runners.envs.libero_runtime
    from runners.assets.resolve import ResolvedAssets
    from runners.envs.base import AssetProvenance

    seen = {}

    def resolve(assets, *, suite, render):
        seen.update(assets=assets, render=render)
        return ResolvedAssets("root", AssetProvenance("folder", "0" * 16, render))

    monkeypatch.setattr(runners.assets, "resolve_assets", resolve)
    monkeypatch.setattr(runners.envs.libero_runtime, "prepare", lambda root: {"gl": "test"})
    monkeypatch.setattr(runners.envs.libero, "make_libero_env", lambda *args, **keys: seen.update(keys, args=args))
    words = ["suite=libero_goal", "suite.reseed=task", "suite.max_steps=7", "suite.success_rule=final_step"]
    simulator = build_simulator(compose_run([*words, "assets=auto", "suite.render=fast"]).config)
    simulator.make_env(4)
    assert seen.pop("assets").provenance.render == "fast"
    assert seen == {
        "args": ("libero_goal", 4),
        "render": "fast",
        "max_steps": 7,
        "reseed": "task",
        "placement": "official",
        "success_rule": "final_step",
    }
    assert simulator.versions == {"gl": "test"}


def test_model_gets_every_model_key():
    words = ["suite=toy", "model.dtype=bfloat16", "model.num_open_loop_steps=3", "device=cpu"]
    arms = build_arms(compose_run([*words, "cache=fixed_ratio", "cache.reuse_ratio=0.4"]).config)
    assert arms.baseline.num_open_loop_steps == arms.policy.num_open_loop_steps == 3
    assert (arms.dtype, arms.device, arms.accelerator) == ("bfloat16", "cpu", None)
    assert arms.resolved_cache["reuse_ratio"] == 0.4
    assert arms.baseline.loaded is arms.policy.loaded  # one set of weights in memory


@pytest.mark.parametrize(
    ("words", "low"), [(["suite=libero_goal"], -0.5), (["suite=toy", "model.unnorm_key=libero_spatial"], -0.75)]
)
def test_a_published_model_takes_its_statistics_from_the_suite(tmp_path, words, low):
    from vlacache.models.twin import write_openvla_twin

    write_openvla_twin(tmp_path / "twin", "openvla_oft")
    statistics = tmp_path / "twin" / "dataset_statistics.json"
    data = json.loads(statistics.read_text())
    data["libero_goal_no_noops"]["action"]["q01"][0] = -0.5
    statistics.write_text(json.dumps(data))
    chosen = [f"model.checkpoint={tmp_path / 'twin'}", "model=openvla_oft", "cache=official", "device=cpu"]
    arms = build_arms(compose_run([*words, *chosen]).config)
    assert arms.baseline.loaded.model.config.action_low[0] == low
    assert (arms.views, arms.grid, arms.num_layers) == (("agentview", "wrist"), (4, 4), 4)
    assert arms.checkpoint.startswith("twin@") and arms.baseline.weights == "untrained"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "needs its published weights"),
        (["model.checkpoint=openvla/openvla-7b", "model.revision=main"], "expected the commit hash"),
        (["model.checkpoint=openvla/openvla-7b/x"], "expected a folder or a hub id"),
    ],
)
def test_a_published_model_without_weights_is_refused(words, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build_arms(compose_run(["model=openvla", "suite=libero_spatial", "device=cpu", *words]).config)


@pytest.mark.parametrize(
    ("key", "camera"), [("bridge_orig", "3rd_view_camera"), ("fractal20220817_data", "overhead_camera")]
)
def test_cogact_takes_its_robot_from_the_statistics(tmp_path, key, camera):
    from vlacache.models.cogact.twin import write_cogact_twin

    write_cogact_twin(tmp_path / "twin")
    words = ["model=cogact", f"model.checkpoint={tmp_path / 'twin'}", "suite=toy", "device=cpu"]
    arms = build_arms(compose_run([*words, f"model.unnorm_key={key}"]).config)
    assert arms.views == (camera,) and arms.baseline.num_open_loop_steps == 1
    with pytest.raises(ValueError, match=r"model\.unnorm_key: expected one of .*got 'toy'"):
        build_arms(compose_run(words).config)


@pytest.mark.parametrize(
    "words",
    [
        ["model=cogact", "suite=libero_spatial"],
        ["model=cogact", "suite=libero_spatial", "model.unnorm_key=bridge_orig"],
        ["model=openvla", "suite=libero_goal", "model.unnorm_key=fractal20220817_data"],
    ],
)
def test_a_model_of_another_robot_is_refused_before_anything_is_loaded(words, monkeypatch, capsys, tmp_path):
    """One line, exit code 2, no run folder, and no advice to give the same command again."""
    monkeypatch.chdir(tmp_path)
    for name in ("build_simulator", "build_arms"):
        monkeypatch.setattr(f"runners.launch.{name}", lambda *_: pytest.fail("it was built"))
    run = compose_run([*words, "model.checkpoint=some/where", f"model.revision={'a' * 40}", "device=cpu"])
    assert launch(run, words) == 2
    shown = capsys.readouterr()
    assert "actions are those of a SIMPLER robot" in shown.err and "continue" not in shown.err + shown.out
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["model=tiny_oft"],
        ["model=openvla_oft"],
        ["model=blind", "model.base=tiny_oft", "cache=none"],
        ["model=openvla", "model.unnorm_key=libero_spatial"],
        ["model=cogact", "model.unnorm_key=fractal20220817_data"],
    ],
)
def test_a_model_of_another_robot_is_refused_on_simpler(words, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("build_simulator", "build_arms"):
        monkeypatch.setattr(f"runners.launch.{name}", lambda *_: pytest.fail("it was built"))
    words = ["suite=simpler_widowx", *words, "device=cpu"]
    assert launch(compose_run(words), words) == 2
    shown = capsys.readouterr().err
    assert "not those of widowx_bridge" in shown and "bridge_orig" in shown


@pytest.mark.parametrize(
    "words", [["model=cogact"], ["model=openvla"], ["model=openvla", "model.unnorm_key=bridge_orig"]]
)
def test_models_with_the_robots_statistics_are_taken_on_simpler(words):
    from runners.build import check_robot, model_request

    config = compose_run(["suite=simpler_widowx", *words, "model.checkpoint=some/where"]).config
    check_robot(config)
    assert model_request(config, "cpu").unnorm_key == "bridge_orig"


def test_both_arms_decode_and_run_as_asked():
    words = ["suite=toy", "model=tiny_openvla", "device=cpu", "model.decode=speculative", "model.runtime=eager"]
    arms = build_arms(compose_run(words).config)
    for arm in (arms.baseline, arms.policy):
        assert (arm.loaded.decode, arm.loaded.runtime) == ("speculative", "eager")


def test_another_seed_is_another_episode_but_the_same_model():
    import torch

    first, second = (
        build_arms(compose_run(["suite=toy", "device=cpu", f"seed={seed}"]).config).baseline.loaded.model.state_dict()
        for seed in (0, 1)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_seed_zero_seeds_every_generator():
    import random

    import numpy as np
    import torch

    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002 - the global one is meant

    seed_everything(0)
    first = draw()
    draw()
    seed_everything(0)
    assert draw() == first


def test_a_missing_gpu_is_named():
    import torch

    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    with pytest.raises(ValueError, match=f"torch sees {available} CUDA devices; use device=auto or device=cpu"):
        resolve_device(f"cuda:{available}")
    assert resolve_device("auto") == ("cuda" if available else "cpu")


def test_plan_follows_the_keys(toy):
    config = toy.config
    suite = replace(config.suite, task_ids=(2, 0), episodes_per_task=2, init_indices=(5, 3))
    plan = make_plan(replace(config, suite=suite, seed=7), build_simulator(config))
    assert [(p.task_id, p.init_index, p.env_seed) for p in plan] == [(2, 5, 7), (2, 3, 7), (0, 5, 7), (0, 3, 7)]


def test_continue_command_survives_a_shell():
    words = ["suite.task_ids=[0,3]", "run_id=old", "cache=paper"]
    assert continue_command(words, "new") == "python run.py 'suite.task_ids=[0,3]' cache=paper run_id=new"


def test_only_the_same_unfinished_run_is_continued(toy, tmp_path):
    arms = build_arms(toy.config)
    record = with_model(make_record(toy, build_simulator(toy.config), arms.accelerator), arms)

    def store(run_id, created_at, **changes):
        (tmp_path / run_id).mkdir()
        stored = asdict(replace(record, run_id=run_id, created_at=created_at, **changes))
        (tmp_path / run_id / "run.json").write_text(json.dumps(stored))

    assert find_unfinished(tmp_path, record) is None
    store("older", "2026-01-01T00:00:00+00:00")
    store("younger", "2026-01-02T00:00:00+00:00")
    store("other-code", "2026-01-03T00:00:00+00:00", versions={**record.versions, "code": "other"})
    store("finished", "2026-01-04T00:00:00+00:00")
    (tmp_path / "finished" / "summary.json").write_text("{}")
    store("broken", "2026-01-05T00:00:00+00:00")
    (tmp_path / "broken" / "run.json").write_text("{")
    assert find_unfinished(tmp_path, record) == "younger"
    import fcntl

    with (tmp_path / "younger" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as a living process does
        assert find_unfinished(tmp_path, record) == "older"


def test_commit_is_named_where_there_is_one(repo_root):
    commit = git_commit()
    if not (repo_root / ".git").exists():
        assert commit is None
    else:
        assert len(commit.removesuffix("+dirty")) == 40
