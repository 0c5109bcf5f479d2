"""docs/reproduce.md: its commands compose, its intervals follow from its counts, its memory from the shapes."""

from __future__ import annotations

import re
import shlex

import pytest

from runners.overrides import compose_run
from runners.report.stats import wilson_interval
from runners.suite_names import TASK_MAX_STEPS

RATE = re.compile(r"(\d+\.\d) \((≈ )?(\d+)/(\d+)\) \[(\d+\.\d), (\d+\.\d)\]")
#: Published rates of successes without and with the cache: arXiv 2502.02175v2.
OPENVLA = {"libero_spatial": (84.4, 83.8), "libero_object": (86.6, 85.8), "libero_goal": (75.6, 76.4)}
OPENVLA["libero_10"] = (53.2, 52.8)
#: Seconds of model and simulator per env step, as the page says.
SECONDS = {"openvla": 0.240 + 0.054, "openvla_oft": 0.112 / 8 + 0.020}


@pytest.fixture(scope="module")
def page(repo_root):
    return (repo_root / "docs" / "reproduce.md").read_text(encoding="utf-8")


def commands(page):
    lines = [line for line in page.splitlines() if line.startswith("python run.py")]
    return [shlex.split(line.replace("$REVISION", "0" * 40))[2:] for line in lines]


def test_there_is_one_command_for_each_model_and_suite(page):
    found = []
    for words in commands(page.split("## CogACT, SIMPLER")[0]):
        config = compose_run(words).config
        suite = config.suite.name
        assert config.model.checkpoint.endswith(suite.replace("libero_", "libero-"))
        assert (config.cache.name, config.suite.reseed, config.assets) == ("official", "task", "auto")
        numbers = config.cache.numbers
        assert (numbers["min_saving"], numbers["max_backoff"], numbers["entropy_rows"]) == (0, 0, None)
        assert config.suite.episodes_per_task * len(config.suite.tasks) == 500
        found.append((config.model.name, suite))
    assert sorted(found) == sorted((model, suite) for model in SECONDS for suite in OPENVLA)


def test_intervals_follow_from_the_counts(page):
    rows = RATE.findall(page)
    assert len(rows) == 8 + 4 + 2 + 16
    for rate, about, successes, episodes, low, high in rows:
        interval = wilson_interval(int(successes), int(episodes))
        assert (f"{100 * interval.low:.1f}", f"{100 * interval.high:.1f}") == (low, high)
        exact = f"{100 * int(successes) / int(episodes):.1f}" == rate
        assert exact != bool(about), f"{rate} of {episodes}"
        assert abs(100 * int(successes) / int(episodes) - float(rate)) <= 50 / int(episodes) + 1e-9


def test_openvla_rows_are_the_published_ones(page):
    table = page.split("## OpenVLA, four")[1].split("## OpenVLA-OFT")[0]
    for suite, rates in OPENVLA.items():
        line = next(line for line in table.splitlines() if line.startswith(f"| `{suite}`"))
        assert tuple(float(match[0]) for match in RATE.findall(line)) == rates


@pytest.mark.parametrize(("model", "title"), [("openvla", "## OpenVLA, four"), ("openvla_oft", "## OpenVLA-OFT")])
def test_gpu_hours_follow_from_the_assumptions(page, model, title):
    table = page.split(title)[1].split("\n## ")[0]
    for suite in OPENVLA:
        line = next(line for line in table.splitlines() if line.startswith(f"| `{suite}`"))
        config = compose_run([f"suite={suite}"]).config.suite
        hours = 500 * config.max_steps * SECONDS[model] / 3600
        assert float(line.split("|")[-2]) == pytest.approx(hours, abs=0.051)


def test_gpu_hours_of_cogact_follow_from_the_assumptions(page):
    pytest.importorskip("sapien", reason="needs `make setup-simpler`")
    from runners.envs.simpler.suites import num_layouts

    for line in [line for line in page.splitlines() if line.startswith("python run.py suite=simpler")]:
        suite = compose_run(shlex.split(line.replace("$REVISION", "0" * 40))[2:]).config.suite
        steps = [suite.max_steps or limit for limit in TASK_MAX_STEPS[suite.name]]
        layouts = [num_layouts(suite.name, task) for task in range(len(steps))]
        total = sum(n * limit for n, limit in zip(layouts, steps, strict=True))
        hours = total * (0.240 + (0.062 if suite.name == "simpler_widowx" else 0.081)) / 3600
        row = next(line for line in page.splitlines() if line.startswith(f"| `{suite.name}`"))
        episodes, shown_steps, shown_hours = (cell.strip() for cell in row.split("|")[2:5])
        assert (int(episodes), int(shown_steps)) == (sum(layouts), total)
        assert float(shown_hours) == pytest.approx(hours, abs=0.051)


@pytest.mark.parametrize("name", ["openvla", "openvla_oft", "cogact"])
def test_memory_is_that_of_the_shapes(page, monkeypatch, name):
    """The table against what the check before loading asks for."""
    import torch

    from vlacache.bench.random_weights import random_model
    from vlacache.models import memory

    row = next(line for line in page.splitlines() if line.startswith(f"| `{name}`") and "," in line.split("|")[2])
    parameters, weights, needed = (cell.strip().replace(",", "") for cell in row.split("|")[2:5])
    asked = []

    def stop(num_bytes, device, *, what, beside):
        assert beside == {}
        asked.append(num_bytes)
        raise InterruptedError

    monkeypatch.setattr("vlacache.bench.random_weights.require_memory", stop)
    with pytest.raises(InterruptedError):
        random_model(name, "7b", device=torch.device("cpu"), dtype=torch.bfloat16)
    denoiser_extra = 2 * 88_980_743 if name == "cogact" else 0  # float32 in place of bfloat16
    assert asked == [2 * int(parameters) + denoiser_extra]
    assert float(weights) == pytest.approx(asked[0] / 2**30, abs=0.005)
    assert float(needed) == pytest.approx(asked[0] * memory.OVERHEAD / 2**30, abs=0.005)


def test_simpler_commands_compose_for_the_robot_of_their_suite(page):
    from runners.build import check_robot

    configs = [compose_run(words).config for words in commands(page.split("## CogACT, SIMPLER")[1])]
    assert configs
    for config in configs:
        check_robot(config)
        assert (config.model.name, config.assets, config.suite.success_rule) == ("cogact", "auto", "final_step")


def test_scripts_of_the_page_exist(page, repo_root):
    scripts = re.findall(r"^python (scripts/\w+\.py)", page, flags=re.MULTILINE)
    assert len(scripts) == 2 and all((repo_root / script).is_file() for script in scripts)
