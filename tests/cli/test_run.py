"""``python run.py`` end to end: on the toy suite in this process, and one LIBERO episode pair in the simulator."""

from __future__ import annotations

import errno
import json
import subprocess
import sys

import pytest
import yaml

from runners.estimate import describe_cost, measured_cost
from runners.journal import read_episodes, read_run
from runners.overrides import compose_run

SMALL = ["suite=toy", "suite.task_ids=[1]", "suite.max_steps=9", "device=cpu", "model.dtype=float32"]


def test_a_run_ends_with_table_and_files(run_main, tmp_path):
    code, out, _ = run_main(*SMALL, "suite.episodes_per_task=2", "run_id=demo", "seed=0")
    assert code == 0
    assert "tiny_oft, trained weights" in out
    assert "speed-up" in out
    assert "this continues it: python run.py suite=toy" in out
    run_dir = tmp_path / "results" / "demo"
    names = {path.name for path in run_dir.iterdir()}
    assert {"run.json", "config.yaml", "episodes.jsonl", "steps", "summary.json", "report.md", "plots"} <= names
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    summary = json.loads((run_dir / "summary.json").read_text())
    assert (summary["num_episodes"], summary["suite"], summary["cache"]) == (2, "toy", "adaptive")


def test_the_record_says_what_was_run(run_main, tmp_path):
    run_main(*SMALL, "suite.episodes_per_task=1", "run_id=demo", "cache=fixed_ratio", "cache.reuse_ratio=0.4", "seed=3")
    run_dir = tmp_path / "results" / "demo"
    run = read_run(run_dir)
    assert (run.model, run.weights, run.cache, run.device, run.dtype) == (
        "tiny_oft", "trained", "fixed_ratio", "cpu", "float32"
    )  # fmt: skip
    assert run.checkpoint is not None and run.checkpoint.startswith("tiny_oft@")
    assert run.resolved_cache["reuse_ratio"] == 0.4
    assert run.config["cache"]["reuse_ratio"] == 0.4
    assert run.config == yaml.safe_load((run_dir / "config.yaml").read_text())
    assert {"python", "torch", "numpy", "machine", "code"} <= set(run.versions)
    assert {(e.arm, e.cache, e.env_seed) for e in read_episodes(run_dir)} == {
        ("baseline", "none", 3),
        ("policy", "fixed_ratio", 3),
    }


def test_untrained_weights_are_called_so(run_main):
    _, out, _ = run_main(*SMALL, "suite.episodes_per_task=1", "run_id=demo", "model.checkpoint=null")
    assert "UNTRAINED" in out
    assert "Untrained weights: success says nothing about the cache" in out


def test_too_many_errors_end_with_code_1_and_keep_what_is_done(run_main, tmp_path, monkeypatch):
    import runners.envs.toy as toy

    build = toy.make_toy_env
    monkeypatch.setattr(toy, "make_toy_env", lambda *a, **k: toy.FaultyEnv(build(*a, **k), raise_at_step=3))
    code, _, err = run_main(*SMALL, "suite.episodes_per_task=2", "runner.max_errors=1", "run_id=demo")
    assert code == 1
    assert "2 episodes ended in an error, more than runner.max_errors=1" in err
    assert "injected fault at step 3" in err
    assert [e.status for e in read_episodes(tmp_path / "results/demo")] == ["error", "error"]


def test_video_and_wandb_are_written_beside_the_records(run_main, tmp_path):
    pytest.importorskip("wandb")
    code, *_ = run_main(*SMALL, "suite.episodes_per_task=1", "run_id=demo", "logger=wandb", "runner.video=first")
    assert code == 0
    run_dir = tmp_path / "results/demo"
    assert list((run_dir / "videos").glob("*.mp4"))
    assert list((run_dir / "wandb").glob("offline-run-*"))


def test_hydra_shows_the_composed_config(run_main, tmp_path):
    code, out, _ = run_main("--cfg", "job", "suite=toy", "cache=none", "seed=5")
    assert code == 0
    assert yaml.safe_load(out)["seed"] == 5
    assert list(tmp_path.iterdir()) == []


def test_without_the_environment_the_message_says_what_to_do(repo_root, tmp_path):
    """A Python that has none of the packages."""
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(repo_root / "run.py"), "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Run `make setup`" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_one_line_and_code_1(run_main, monkeypatch):
    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "results/demo/steps/x.parquet")

    monkeypatch.setattr("runners.store.write_steps", no_space)
    code, _, err = run_main(*SMALL, "suite.episodes_per_task=1", "run_id=demo")
    assert code == 1
    assert "error: results/demo/steps/x.parquet: No space left on device; free some space" in err
    assert "Traceback" not in err


def test_no_cache_is_one_arm(run_main, tmp_path):
    run_main(*SMALL, "suite.episodes_per_task=1", "run_id=demo", "cache=none")
    assert [e.arm for e in read_episodes(tmp_path / "results/demo")] == ["baseline"]


def test_self_pair_runs_the_baseline_twice(run_main, tmp_path):
    run_main(*SMALL, "suite.episodes_per_task=1", "run_id=demo", "cache=none", "runner.self_pair=true")
    rows = read_episodes(tmp_path / "results/demo")
    assert sorted((e.arm, e.cache) for e in rows) == [("baseline", "none"), ("policy", "none")]
    assert rows[0].num_steps == rows[1].num_steps


def test_the_expert_solves_the_toy_suite(run_main, tmp_path):
    code, *_ = run_main("suite=toy", "model=expert", "suite.episodes_per_task=2", "run_id=expert")
    assert code == 0
    assert [e.status for e in read_episodes(tmp_path / "results/expert")] == ["success"] * 6


def test_dry_run_lists_episodes_and_writes_nothing(run_main, tmp_path):
    chosen = ["suite.task_ids=[2]", "suite.init_indices=[0,1,4]", "suite.episodes_per_task=3"]
    code, out, _ = run_main("suite=toy", *chosen, "runner.dry_run=true")
    assert code == 0
    assert "3 initial states x 2 arms = 6 episodes" in out
    assert "task  2: initial states 0-1, 4" in out
    assert "about 8 s and 0.5 MB (not measured here: by the step from 20 episodes of libero_spatial" in out
    assert list(tmp_path.iterdir()) == []


def test_a_list_of_initial_states_is_the_selection(run_main):
    words = ["suite=toy", "suite.task_ids=[2]", "runner.dry_run=true"]
    code, out, _ = run_main(*words, "suite.init_indices=[3]")
    assert code == 0
    assert "task  2: initial states 3\n" in out
    code, _, err = run_main(*words, "suite.init_indices=[3,4]", "suite.episodes_per_task=5")
    assert code == 2
    assert "names 2 initial states, but suite.episodes_per_task=5" in err
    code, _, err = run_main(*words, "suite.init_indices=[99]")
    assert code == 2
    assert "suite.init_indices: task 2 has initial states 0 .. 19, got [99]" in err


def test_dry_run_estimates_from_earlier_episodes(run_main, tmp_path):
    run_main(*SMALL, "suite.episodes_per_task=1", "run_id=demo")
    code, out, _ = run_main("suite=toy", "suite.episodes_per_task=20", "device=cpu", "runner.dry_run=true",
                            "model.dtype=float32")  # fmt: skip
    assert code == 0
    assert "60 initial states x 2 arms = 120 episodes" in out
    assert "from 2 episodes with this suite, model, dtype and device in results/" in out
    _, out, _ = run_main("suite=toy", "device=cpu", "runner.dry_run=true", "model.dtype=bfloat16")
    assert "not measured here" in out


def test_no_hours_of_a_published_model_that_never_ran_here(tmp_path):
    """Those of the tiny one would be a promise of two hours for nine on an A100."""
    words = ["suite=libero_spatial", "model=openvla", "model.checkpoint=somewhere"]
    told = describe_cost(compose_run(words).config, 1000, tmp_path, "cpu")
    assert told.startswith("time not known: no episode of openvla") and "hours; about 35.8 MB" in told
    assert "not measured here" in describe_cost(compose_run(["suite=libero_spatial"]).config, 1000, tmp_path, "cpu")


def test_an_estimate_grows_and_shrinks_with_max_steps(tmp_path):
    """Two runs' episodes of 10 s and 100 steps: one was cut off there, the other ended by itself."""
    config = compose_run(["suite=toy", "suite.max_steps=400"]).config
    run = {"suite": "toy", "model": "tiny_oft", "device": "cpu", "dtype": "float32"}
    row = {"status": "failure", "reused_from": None, "wall_s": 10.0, "num_steps": 100, "task_id": 0}
    for limit, seconds in ((100, 40.0), (500, 10.0)):
        folder = tmp_path / str(limit) / "run"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({**run, "config": {"suite": {"max_steps": limit}, "model": {}}}))
        (folder / "episodes.jsonl").write_text(json.dumps(row) + "\n")
        assert measured_cost(folder.parent, config, 1, device="cpu").seconds == pytest.approx(seconds)
        assert measured_cost(folder.parent, config, 1, device="NVIDIA H100") is None


def test_multirun_runs_every_job(run_main, tmp_path):
    code, *_ = run_main("-m", *SMALL, "suite.episodes_per_task=1", "cache=fixed_ratio", "cache.reuse_ratio=0.2,0.6",
                        "run_id=sweep/fixed_ratio-${cache.reuse_ratio}")  # fmt: skip
    assert code == 0
    runs = sorted(p.name for p in (tmp_path / "results/sweep").iterdir())
    assert runs == ["fixed_ratio-0.2", "fixed_ratio-0.6"]


def test_arms_of_a_sweep_share_a_baseline_and_time_their_own(run_main, tmp_path):
    words = [*SMALL, "suite.episodes_per_task=4"]
    run_main(*words, "cache=none", "run_id=sweep/none")
    code, *_ = run_main(*words, "cache=fixed_ratio", "run_id=sweep/arm", "runner.shared_baseline=sweep/none")
    assert code == 0
    rows = read_episodes(tmp_path / "results/sweep/arm")
    reused = [e.init_index for e in rows if e.reused_from == "sweep/none"]
    assert len([e for e in rows if e.arm == "baseline"]) == 4
    assert len(reused) == 2
    assert all(e.reused_from is None for e in rows if e.arm == "policy")


@pytest.mark.slow
def test_the_sweep_ends_with_a_table_and_does_nothing_twice(repo_root, tmp_path):
    command = [sys.executable, str(repo_root / "scripts/sweep.py"), "demo", *SMALL]
    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    sweep_dir = tmp_path / "results/demo"
    assert {"sweep.md", "sweep.csv", "sweep.png"} <= {path.name for path in sweep_dir.iterdir()}
    episodes = {path: path.read_bytes() for path in sweep_dir.glob("*/episodes.jsonl")}
    assert len(episodes) == 8
    second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert {path: path.read_bytes() for path in sweep_dir.glob("*/episodes.jsonl")} == episodes


@pytest.mark.sim
def test_the_main_job_in_small(run_main, tmp_path):
    """The path of ``make run`` on the real simulator and the built-in assets."""
    pytest.importorskip("libero")
    code, out, _ = run_main(
        "suite=libero_spatial", "cache=adaptive", "suite.task_ids=[0]", "suite.episodes_per_task=1",
        "suite.max_steps=12", "device=cpu", "run_id=small",
    )  # fmt: skip
    assert code == 0
    assert "libero_spatial" in out
    run = read_run(tmp_path / "results/small")
    assert run.assets["source"] == "builtin"
    assert {"mujoco", "gl", "hf-libero"} <= set(run.versions)
    summary = json.loads((tmp_path / "results/small/summary.json").read_text())
    assert (summary["num_episodes"], summary["num_errors"]) == (1, 0)
    assert summary["latency_ms"]["policy"]["p50"] > 0
