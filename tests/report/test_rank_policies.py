"""``scripts/rank_policies.py``: MMRV and Pearson over runs of several models."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runners.report import build_summary, load_run
from runners.report.ranking import mean_maximum_rank_violation, pearson_correlation
from tests.bench.scripts import load_script

WriteRun = Callable[..., Path]


@pytest.fixture
def runs(write_run: WriteRun) -> list[Path]:
    """Three models; the cache ruins the best of them."""
    rates = {"good": (0.95, 0.05), "middling": (0.5, 0.5), "poor": (0.1, 0.1)}
    return [
        write_run(name, model=name, success=rate, num_inits=12, seed=seed)
        for seed, (name, rate) in enumerate(rates.items())
    ]


def call(repo_root: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(repo_root / "scripts/rank_policies.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_cache_against_no_cache(runs: list[Path], repo_root: Path) -> None:
    result = call(repo_root, *runs)
    assert result.returncode == 0, result.stderr
    tasks = [build_summary(load_run(run))["tasks"] for run in runs]
    for index in (0, 1):
        sim, real = ([t[index]["success_rate"][arm] for t in tasks] for arm in ("policy", "baseline"))
        violation, correlation = mean_maximum_rank_violation(sim, real), pearson_correlation(sim, real)
        assert violation > 0
        assert f"| {tasks[0][index]['name']} | {violation:.3f} | {correlation:.3f} |" in result.stdout


def test_simulated_against_real(runs: list[Path], repo_root: Path, tmp_path: Path) -> None:
    names = [task["name"] for task in build_summary(load_run(runs[0]))["tasks"]]
    told = {run.name: dict.fromkeys(names, rate) for run, rate in zip(runs, (0.9, 0.6, 0.2), strict=True)}
    (tmp_path / "real.json").write_text(json.dumps(told))
    result = call(repo_root, *runs, "--real", tmp_path / "real.json")
    assert result.returncode == 0, result.stderr
    assert "simulated against real" in result.stdout and "| 0.000 |" in result.stdout
    del told["poor"]
    (tmp_path / "real.json").write_text(json.dumps(told))
    refused = call(repo_root, *runs, "--real", tmp_path / "real.json")
    assert refused.returncode == 1
    assert refused.stderr == "error: expected rates of poor in real.json, it has good, middling\n"
    told["poor"] = {names[0]: 0.2}
    (tmp_path / "real.json").write_text(json.dumps(told))
    assert (
        f"expected a rate of poor for {names[1]!r}" in call(repo_root, *runs, "--real", tmp_path / "real.json").stderr
    )


def test_other_episodes_are_refused(runs: list[Path], write_run: WriteRun, repo_root: Path) -> None:
    noisy = write_run("noisy", model="noisy", config={"seed": 0, "suite": {"sensor_noise": 2.0}})
    refused = call(repo_root, *runs, noisy)
    assert refused.returncode == 1
    assert refused.stderr == (
        "error: expected runs of the same episodes; good and noisy differ: episode_rules.sensor_noise: None != 2.0\n"
    )
    assert "at least two runs" in call(repo_root, runs[0]).stderr
    assert "there is no nowhere" in call(repo_root, runs[0], "nowhere").stderr


def test_a_table_without_rows_is_an_error(runs: list[Path], repo_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no run has played one of SIMPLER's rows whole; an empty table would look like a result."""
    script = load_script(repo_root, "rank_policies")
    monkeypatch.setattr(script, "rates_of", lambda summary, arm: {})
    with pytest.raises(ValueError, match="expected a row that every run has played completely, there is none"):
        script.compare(runs, None)
