"""The same ``python run.py`` again: goes on where it was, does nothing twice, mixes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from runners.lock import RunLock

SMALL = ["suite=toy", "suite.task_ids=[1]", "suite.max_steps=9", "device=cpu", "model.dtype=float32"]


def test_the_same_run_id_runs_nothing_twice(run_main, tmp_path):
    command = [*SMALL, "suite.episodes_per_task=1", "run_id=demo"]
    run_main(*command)
    episodes = (tmp_path / "results/demo/episodes.jsonl").read_bytes()
    code, out, _ = run_main(*command)
    assert code == 0
    assert "speed-up" in out
    assert (tmp_path / "results/demo/episodes.jsonl").read_bytes() == episodes


def test_a_finished_run_is_not_continued_without_its_id(run_main, tmp_path):
    run_main("debug=smoke", "suite.max_steps=2", "device=cpu", "run_id=first")
    run_main("debug=smoke", "suite.max_steps=2", "device=cpu")
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert len(names) == 2
    assert names[1].startswith("toy-tiny_oft-adaptive-2")


def test_another_config_under_the_same_run_id_is_refused(run_main, monkeypatch):
    run_main(*SMALL, "suite.episodes_per_task=1", "run_id=demo")
    monkeypatch.setattr("runners.launch.build_arms", lambda config: pytest.fail("the model was loaded"))
    code, out, err = run_main(*SMALL, "suite.episodes_per_task=1", "run_id=demo", "suite.max_steps=5")
    assert (code, out) == (2, "")
    assert "suite.max_steps: 9 != 5" in err
    assert "Use another run_id" in err
    code, _, err = run_main(*SMALL, "suite.episodes_per_task=1", "run_id=demo", "cache=paper")
    assert code == 2
    assert err.splitlines()[1] == "  cache: adaptive != paper"
    assert "<absent>" not in err


def test_a_larger_run_continues_the_smaller_one(run_main, tmp_path):
    command = ["suite=toy", "model=expert", "suite.task_ids=[1]", "device=cpu", "run_id=demo"]
    assert run_main(*command, "suite.episodes_per_task=2")[0] == 0
    small = (tmp_path / "results/demo/episodes.jsonl").read_bytes()
    code, out, _ = run_main(*command, "suite.episodes_per_task=5", "runner.dry_run=true")
    assert code == 0
    assert "2 of them are saved in results/demo/, 3 are missing\nabout " in out
    code, out, err = run_main(*command, "suite.episodes_per_task=1", "runner.dry_run=true")
    assert (code, out) == (2, "")
    assert "never with a smaller one" in err
    code, out, _ = run_main(*command, "suite.episodes_per_task=5")
    assert code == 0
    large = (tmp_path / "results/demo/episodes.jsonl").read_bytes()
    assert large.startswith(small)
    assert len(large.splitlines()) == 5
    assert "5/5" in out
    assert "episodes_per_task: 5" in (tmp_path / "results/demo/config.yaml").read_text()
    _, out, _ = run_main(*command, "suite.episodes_per_task=5", "runner.dry_run=true")
    assert "5 of them are saved in results/demo/, 0 are missing\ndry run" in out


def test_a_second_writer_is_refused_before_the_model_is_loaded(run_main, tmp_path, monkeypatch):
    monkeypatch.setattr("runners.launch.build_arms", lambda config: pytest.fail("the model was loaded"))
    (tmp_path / "results/demo").mkdir(parents=True)
    lock = RunLock(tmp_path / "results/demo/.lock")
    code, out, err = run_main(*SMALL, "run_id=demo")
    lock.release(forget=True)
    assert (code, out) == (1, "")
    assert "results/demo is being written by process" in err


def test_seed_zero_gives_the_same_run_twice(run_main, tmp_path):
    for run_id in ("first", "second"):
        run_main(*SMALL, "suite.episodes_per_task=1", f"run_id={run_id}", "seed=0", "cache=random")
    from runners.steps import read_steps

    first, second = (
        {p.name: read_steps(p) for p in (tmp_path / "results" / r / "steps").iterdir()} for r in ("first", "second")
    )
    assert first.keys() == second.keys()
    for name in first:
        assert first[name]["action"].to_pylist() == second[name]["action"].to_pylist()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_same_command_continues_a_run_that_was_cut_off(repo_root, tmp_path, sent):
    """A signal in mid-run, then the very same command without a run id."""
    words = ["suite=toy", "suite.episodes_per_task=4", "suite.max_steps=9", "device=cpu", "model.dtype=float32"]
    command = [sys.executable, str(repo_root / "run.py"), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts background jobs with SIGINT ignored, and the tests may be such a job.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    _wait_for_episode(tmp_path, process)
    process.send_signal(sent)
    _, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    (run_dir,) = (tmp_path / "results").iterdir()
    saved = (run_dir / "episodes.jsonl").read_bytes()
    if sent == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130, err
        assert f"episodes are saved in results/{run_dir.name}/" in err
        assert f"run_id={run_dir.name}" in err
    assert 0 < len(saved.splitlines()) < 24  # long enough that the signal arrives in mid-run on a busy machine too

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "results").iterdir()] == [run_dir.name]
    final = (run_dir / "episodes.jsonl").read_bytes()
    assert final.startswith(saved)
    assert len(final.splitlines()) == 24


def _wait_for_episode(folder, process, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if any(path.stat().st_size for path in folder.glob("results/*/episodes.jsonl")):
            return
        time.sleep(0.02)
    pytest.fail(f"no episode was finished within {seconds} s: {process.communicate()[1] if process.poll() else ''}")
