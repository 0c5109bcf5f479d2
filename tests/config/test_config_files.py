"""Every file of ``configs/`` is composed, typed and built, and says in its first line what it is."""

from __future__ import annotations

from dataclasses import fields

import pytest

from runners.config import SECTIONS, CacheSection
from runners.config_parse import check_cache, parse_config
from runners.help import describe
from runners.overrides import compose_run, config_dir, default_choice, group_choices, groups, keys_of
from runners.simulators import render_mode
from runners.suite_names import NUM_TASKS

ALL_CHOICES = [(group, choice) for group in groups() for choice in group_choices(group)]


@pytest.mark.parametrize(("group", "choice"), ALL_CHOICES)
def test_every_file_composes(group, choice):
    run = compose_run([f"{group}={choice}"])
    check_cache(run.config.cache)
    if group in ("suite", "model", "cache", "runner", "logger"):
        assert getattr(run.config, group, None) is not None
        assert run.resolved[group]["name"] == choice


@pytest.mark.parametrize(("group", "choice"), ALL_CHOICES)
def test_every_file_says_what_it_is(group, choice):
    line = describe(config_dir() / group / f"{choice}.yaml")
    assert 20 <= len(line) <= 130
    assert not line.endswith(".")


def test_defaults_are_the_main_job():
    config = compose_run([]).config
    assert (config.suite.name, config.model.name, config.cache.name) == ("libero_spatial", "tiny_oft", "adaptive")
    assert config.assets == "builtin"
    assert config.suite.episodes_per_task * len(config.suite.tasks) == 500
    assert default_choice("experiment") is None


def test_cache_files_hold_exactly_the_fields_of_their_policy():
    from vlacache.core.policies import CACHE_POLICIES

    assert set(group_choices("cache")) == set(CACHE_POLICIES)
    assert keys_of("cache", "none") == {}  # it has no numbers of its own
    for name in set(CACHE_POLICIES) - {"none"}:
        assert set(keys_of("cache", name)) == {f.name for f in fields(CACHE_POLICIES[name])}, name


def test_section_files_hold_no_key_without_a_type():
    for group, section in SECTIONS.items():
        known = {f.name for f in fields(section)} - {"name"}
        for choice in group_choices(group):
            assert set(keys_of(group, choice)) <= known, f"{group}/{choice}"


def test_suite_files_agree_with_the_simulators():
    from runners.envs.libero_tasks import LIBERO_SUITES
    from runners.envs.toy import TOY_COLOURS, make_toy_env

    for suite in group_choices("suite"):
        config = compose_run([f"suite={suite}"]).config.suite
        if config.backend == "libero":
            assert config.max_steps == LIBERO_SUITES[suite]
            assert (config.episodes_per_task, config.reseed, config.success_rule) == (50, "episode", "first")
    assert NUM_TASKS.keys() == set(group_choices("suite"))
    assert NUM_TASKS["toy"] == len(TOY_COLOURS)
    assert compose_run(["suite=toy"]).config.suite.max_steps == make_toy_env().spec.max_steps


@pytest.mark.sim
def test_number_of_tasks_and_initial_states_are_those_of_libero():
    pytest.importorskip("libero")
    from runners.assets.resolve import resolve_assets
    from runners.envs.libero_runtime import prepare
    from runners.envs.libero_tasks import LIBERO_SUITES, load_task
    from runners.suite_names import LIBERO_INIT_STATES

    prepare(resolve_assets("builtin", suite="libero_spatial", render="fast").root)
    for suite in LIBERO_SUITES:
        last = load_task(suite, NUM_TASKS[suite] - 1)
        assert len(last.init_states) == LIBERO_INIT_STATES["official"]
        with pytest.raises(ValueError, match="has tasks"):
            load_task(suite, NUM_TASKS[suite])


def test_experiments_name_their_own_command():
    for name in group_choices("experiment"):
        command = describe(config_dir() / "experiment" / f"{name}.yaml")
        assert command.startswith(f"python run.py experiment={name}"), name
        compose_run(command.split()[2:])


def test_expert_takes_the_cache_that_fits():
    assert compose_run(["model=expert"]).config.cache.name == "none"


def test_zero_is_a_value():
    config = compose_run(["seed=0", "suite.task_ids=[0]", "runner.max_errors=0"]).config
    assert (config.seed, config.suite.tasks, config.runner.max_errors) == (0, (0,), 0)


def test_render_follows_the_assets_unless_it_is_set():
    suite = compose_run([]).config.suite
    assert render_mode(suite, "builtin") == "fast"
    assert render_mode(suite, "auto") == "reference"
    assert render_mode(compose_run(["suite.render=reference"]).config.suite, "builtin") == "reference"


def test_the_record_gets_plain_data():
    resolved = compose_run(["suite=toy", "suite.task_ids=[0,2]", "cache=none"]).resolved
    assert resolved["suite"]["task_ids"] == [0, 2]
    assert set(resolved) == {"seed", "run_id", "assets", "device", "suite", "model", "cache", "runner", "logger"}


def test_a_removed_key_is_reported():
    raw = compose_run(["suite=toy", "cache=none"]).resolved
    del raw["runner"]["max_errors"]
    choices = {"suite": "toy", "model": "tiny_oft", "cache": "none", "runner": "default", "logger": "none"}
    from runners.config import ConfigError

    with pytest.raises(ConfigError, match=r"runner\.max_errors: required"):
        parse_config({**raw, "cache": {}}, choices)


def test_check_cache_names_the_range():
    from runners.config import ConfigError

    with pytest.raises(ConfigError, match=r"cache\.reuse_ratio: expected a number between 0\.0 and 1\.0, got 1\.5"):
        check_cache(CacheSection("fixed_ratio", {"reuse_ratio": 1.5}))
