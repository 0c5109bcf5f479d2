"""The scripts in ``scripts/recipes`` ask for the runs that ``training.json`` beside the shipped weights records."""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from runners.closed_loop import VALIDATION_SEED
from runners.demos.dataset import EpisodeMeta, write_meta
from runners.suite_names import NUM_TASKS
from vlacache.train.config import TRAIN_DEFAULTS

#: Notes every call; leaves what the script looks for.
FAKE = """#!{python}
import json, sys
from pathlib import Path
with open({log!r}, "a") as file:
    file.write(json.dumps(sys.argv[1:]) + chr(10))
if "train_tiny.py" in sys.argv[1]:
    folder = Path(sys.argv[sys.argv.index("--folder") + 1])
    (folder / "last").mkdir(parents=True)
    (folder / "heads.safetensors").touch()
"""


def calls_of(recipe: str, repo_root: Path, tmp_path: Path) -> list[list[str]]:
    """Arguments of every command of the recipe, called twice: finished runs are not begun again."""
    return calls_and_words(recipe, repo_root, tmp_path, {})[0]


def calls_and_words(
    recipe: str, repo_root: Path, tmp_path: Path, changes: dict[str, str]
) -> tuple[list[list[str]], str]:
    """The same, and what the second call printed."""
    fake, log = tmp_path / "python", tmp_path / "log"
    fake.write_text(FAKE.format(python=sys.executable, log=str(log)))
    fake.chmod(0o755)
    folders = {"DEMOS": str(tmp_path / "demos"), "RUNS": str(tmp_path / "runs"), "VLACACHE_ASSETS_DIR": str(tmp_path)}
    if recipe == "tiny_openvla.sh":
        folders["RUNS"] += "_vla"
    command = ["bash", str(repo_root / "scripts/recipes" / recipe)]
    log.unlink(missing_ok=True)
    environment = {**os.environ, **folders, "PYTHON": str(fake), **changes}
    for _ in range(2):
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in log.read_text().splitlines()], done.stdout


def script(repo_root: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, repo_root / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def option(words: list[str], name: str) -> str | None:
    return words[words.index(name) + 1] if name in words else None


def planned(collection: list[str]) -> int:
    """Demonstrations that a collect command asks for."""
    tasks = 10
    if "--tasks" in collection:
        after = collection[collection.index("--tasks") + 1 :]
        tasks = next(i for i, word in enumerate(after) if word.startswith("--"))
    return tasks * int(option(collection, "--demos-per-task") or 0)


def test_the_recipe_of_tiny_oft_asks_for_what_is_recorded(repo_root: Path, tmp_path: Path) -> None:
    facts = json.loads((repo_root / "vlacache/models/checkpoints/tiny_oft/training.json").read_text())
    stages: list[dict[str, Any]] = [*facts["stages"], facts]
    parser = script(repo_root, "train_tiny").parser()
    first = calls_of("tiny_oft.sh", repo_root, tmp_path)
    assert len(trainings_of(first, parser)) == 5  # then it is the other's turn
    shared = calls_of("tiny_openvla.sh", repo_root, tmp_path)
    write_wide_weak(tmp_path / "demos", 59)
    assert not trainings_of(calls_of("tiny_oft.sh", repo_root, tmp_path), parser), "one demonstration is missing"
    write_wide_weak(tmp_path / "demos", 60)
    calls = [*first, *calls_of("tiny_oft.sh", repo_root, tmp_path)]
    kept = [path.parent.name for path in sorted((tmp_path / "runs").glob("*/heads.safetensors"))]
    assert kept == ["10", "6", "7", "8", "9"]
    collections = {option(c, "--output"): c for c in [*shared, *calls] if "collect_demos" in c[0]}
    trainings = trainings_of(calls, parser)
    assert len(trainings) == len(stages) == 10
    for number, (given, stage) in enumerate(zip(trainings, stages, strict=True), start=1):
        config = json.loads(json.dumps(TRAIN_DEFAULTS["tiny_oft"].override(given.words).to_dict()))
        recorded = {"pointing_weight": 0.0, **stage["config"], "precision": stage["dtype"]}
        assert {name: config[name] for name in recorded} == recorded, number
        assert (config["bin_sigma"], config["median_labels"], config["pause_keep"]) == (0.0, False, 1.0)
        assert (given.stop_at or stage["total_steps"]) == stage["step"]
        assert given.init_from == (None if number == 1 else tmp_path / "runs" / str(number - 1) / "last")
        folders = [Path(folder) for folder in given.demos]
        whole = {folder: planned(collections[str(folder)]) - STOPPED.get(folder.name, 0) for folder in folders}
        assert sum(whole[folder] for folder in folders) == stage["demos"]["episodes"], number
        assert ("collections" in stage) == (number >= 6)
        if "collections" in stage:
            asked = {folder: (*asked_for(collections[str(folder)]), whole[folder]) for folder in folders}
            recorded_there = [(*made(kept), kept["episodes"]) for kept in stage["collections"]]
            for ours, theirs in zip(asked.items(), recorded_there, strict=True):
                assert ours[1] == theirs, (number, ours[0].name)
    led = {Path(option(c, "--output") or "").name: option(c, "--novice") for c in calls if "--novice" in c}
    by_run_4 = dict.fromkeys(("wide_led", "official_led"), str(tmp_path / "runs/4/last"))
    by_run_7 = ("official_cabinet_led", "wide_ramekin_led", "goal_led", "goal_led_6", "goal_led_2")
    by_run_9 = ("official_led_9", "wide_led_9", "goal_led_9", "official_apart_led")
    assert led == {
        **by_run_4,
        **dict.fromkeys(by_run_7, str(tmp_path / "runs/7/last")),
        **dict.fromkeys(by_run_9, str(tmp_path / "runs/9/last")),
    }


#: What was stopped by hand, by folder: of 32, 40, 81, 30 and 80 demonstrations that the recipe asks for.
STOPPED = {"goal_c": 2, "vla_official_led": 5, "official_weak": 1, "official_scanned_s33": 2, "goal_led": 30}


def asked_for(words: list[str]) -> tuple[Any, ...]:
    """Of a collect command, what ``made`` gives of a recorded collection."""
    suite = option(words, "--suite") or "libero_spatial"
    tasks = values(words, "--tasks")
    return (
        suite, option(words, "--placement"), int(option(words, "--seed") or 0),
        [int(task) for task in tasks] if tasks else list(range(NUM_TASKS[suite])), values(words, "--jitter"),
        (option(words, "--assets") or "builtin") == "builtin", int(option(words, "--frame-stride") or 3),
        option(words, "--novice") is not None,
    )  # fmt: skip


def made(kept: dict[str, Any]) -> tuple[Any, ...]:
    """Suite, placement, seed, tasks, jitter, whether assets are built in, frame stride, whether a novice led."""
    recording = kept["recording"]
    return (
        kept["suite"], kept["placement"], kept["seed"], kept["tasks"], recording["jitter"],
        kept["assets"].startswith("builtin@"), recording["frame_stride"], kept.get("novice") is not None,
    )  # fmt: skip


def values(words: list[str], name: str) -> list[str]:
    """All words behind an option."""
    if name not in words:
        return []
    return list(itertools.takewhile(lambda word: not word.startswith("--"), words[words.index(name) + 1 :]))


@pytest.mark.parametrize("model", ["tiny_oft", "tiny_openvla"])
def test_no_shipped_model_was_trained_on_the_starts_that_validate(repo_root: Path, model: str) -> None:
    facts = json.loads((repo_root / f"vlacache/models/checkpoints/{model}/training.json").read_text())
    seeds = [kept["seed"] for stage in (*facts["stages"], facts) for kept in stage.get("collections", ())]
    assert len(seeds) > 20 and VALIDATION_SEED not in seeds


@pytest.mark.parametrize(("code", "goes_on"), [(0, True), (3, True), (1, False), (2, False), (130, False)])
@pytest.mark.parametrize("recipe", ["tiny_oft.sh", "tiny_openvla.sh"])
def test_a_recipe_goes_on_without_demos_that_were_left_out_and_stops_at_a_crash(
    repo_root: Path, tmp_path: Path, recipe: str, code: int, goes_on: bool
) -> None:
    fake, log = tmp_path / "python", tmp_path / "log"
    fake.write_text(FAKE.format(python=sys.executable, log=str(log)) + f"else:\n    sys.exit({code})\n")
    fake.chmod(0o755)
    folders = {"DEMOS": str(tmp_path / "demos"), "RUNS": str(tmp_path / "runs"), "VLACACHE_ASSETS_DIR": str(tmp_path)}
    command = ["bash", str(repo_root / "scripts/recipes" / recipe)]
    done = subprocess.run(command, env={**os.environ, **folders, "PYTHON": str(fake)}, capture_output=True)
    assert (done.returncode == 0) == goes_on and (len(log.read_text().splitlines()) > 1) == goes_on


@pytest.mark.parametrize(("code", "goes_on"), [(0, True), (3, True), (1, False), (2, False)])
def test_make_demos_goes_on_without_the_demos_of_goal_that_were_left_out(
    repo_root: Path, tmp_path: Path, code: int, goes_on: bool
) -> None:
    (tmp_path / "bin").mkdir()
    fake, stamp = tmp_path / "bin" / "python", tmp_path / "installed"
    fake.write_text(f'#!/bin/sh\ncase "$*" in *libero_goal*) exit {code};; esac\n')
    fake.chmod(0o755)
    stamp.touch()
    variables = [f"STAMP={stamp}", f"BIN={tmp_path / 'bin'}", f"DEMOS={tmp_path / 'demos'}"]
    done = subprocess.run(["make", "-s", "demos", *variables], cwd=repo_root, capture_output=True)
    assert (done.returncode == 0) == goes_on


def write_wide_weak(demos: Path, episodes: int) -> None:
    """What the recipe looks at, as a collection writes it."""
    metas = {
        n: EpisodeMeta(n, 9, 3, 0, ["do it"], 1, "libero_spatial", "wide", "builtin", 23, n, 1) for n in range(episodes)
    }
    write_meta(demos / "wide_weak", metas, {}, fps=20)


def test_the_recipe_of_tiny_oft_says_the_whole_next_command(repo_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my demos"
    told = calls_and_words("tiny_oft.sh", repo_root, tmp_path, {"DEMOS": str(folder)})[1].splitlines()[-1]
    assert shlex.split(told) == [
        "env", f"PYTHON={tmp_path / 'python'}", f"DEMOS={folder}", f"TOWERS={tmp_path / 'runs'}/5/last",
        "scripts/recipes/tiny_openvla.sh",
    ]  # fmt: skip


def trainings_of(calls: list[list[str]], parser: argparse.ArgumentParser) -> list[argparse.Namespace]:
    """What the recipe trains."""
    return [parser.parse_args(c[1:]) for c in calls if "train_tiny" in c[0]]


def test_the_recipe_of_tiny_openvla_asks_for_what_is_recorded(repo_root: Path, tmp_path: Path) -> None:
    checkpoints = repo_root / "vlacache/models/checkpoints"
    facts = json.loads((checkpoints / "tiny_openvla/training.json").read_text())
    *towers, first, second, third = facts["stages"]
    towers_sha256 = [stage["sha256"] for stage in towers][-1]  # of tiny_oft's run 5
    assert json.loads((checkpoints / "tiny_oft/training.json").read_text())["stages"][4]["sha256"] == towers_sha256
    assert towers_sha256.startswith(first["init_from"])
    for before, after in itertools.pairwise((first, second, third, facts)):
        assert before["sha256"].startswith(after["init_from"])

    calls = calls_of("tiny_openvla.sh", repo_root, tmp_path)
    parser = script(repo_root, "train_tiny").parser()
    collections = {option(c, "--output"): c for c in calls if "collect_demos" in c[0]}
    trainings = [parser.parse_args(c[1:]) for c in calls if "train_tiny" in c[0]]
    assert [str(given.init_from) for given in trainings] == [
        str(Path("results/train/tiny_oft_stages/5/last")),
        *(str(tmp_path / f"runs_vla/{number}/last") for number in (1, 2, 3)),
    ]  # fmt: skip
    for given, stage in zip(trainings, (first, second, third, facts), strict=True):
        config = json.loads(json.dumps(TRAIN_DEFAULTS["tiny_openvla"].override(given.words).to_dict()))
        assert config == {"turn_repeats": 1, **stage["config"]}
        assert stage["total_steps"] == stage["step"]
        asked = [collections[str(folder)] for folder in dict.fromkeys(given.demos)]
        for collection, recorded in zip(asked, stage["collections"], strict=True):
            assert option(collection, "--placement") == recorded["placement"]
            assert int(option(collection, "--seed") or 0) == recorded["seed"]
            assert ("--novice" in collection) == bool(recorded.get("novice"))
            # Two folders were stopped by hand: at 35 of 40 (official_led), at 80 of 120 (official_weak, here 81).
            assert 0 <= planned(collection) - recorded["episodes"] <= 5
    assert [len(given.demos) for given in trainings] == [4, 4 + 3 * 2, 12, 9]
