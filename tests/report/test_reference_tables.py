"""The reference tables: every call is one that run.py takes, and what is published can be counted again."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import scripts.reference_tables as script
from runners.journal import read_episodes, read_run
from runners.overrides import compose_run
from scripts.reference_tables import ARMS, check_control, commands, control_words, parse, publish

WORDS = ["model.checkpoint=builtin", "suite.task_ids=[0,3]"]


def configs(*arguments: Any) -> dict[str, Any]:
    """Run id without its first part -> typed config of every call."""
    runs = [compose_run(words).config for words in commands(*arguments)]
    return {str(run.run_id).split("/")[1]: run for run in runs}


@pytest.mark.parametrize("placement", ["official", "wide"])
def test_every_call_is_valid(placement: str) -> None:
    runs = configs("tables", placement, 20, 5, WORDS)
    assert len(runs) == 3 + len(ARMS)
    assert {run.suite.placement for run in runs.values()} == {placement}
    episodes = {name: run.suite.episodes_per_task for name, run in runs.items()}
    assert episodes["none"] == episodes["paper"] == episodes[f"blind_{placement}"] == 20
    assert episodes["random-0.4"] == episodes["adaptive-no_max_age"] == 5
    first = list(runs.values())[:3]
    assert [run.model.name for run in first] == ["tiny_oft", "blind", "replay"]
    assert first[1].model.base == "tiny_oft" and first[1].model.checkpoint == "builtin"
    assert all(run.runner.shared_baseline == "tables_" + placement + "/none" for run in list(runs.values())[3:])


def test_every_command_of_the_docstring_is_understood() -> None:
    lines = [line.split("   #")[0].strip() for line in script.__doc__.splitlines() if "reference_tables.py" in line]
    given = [parse(shlex.split(line)[2:]) for line in lines]
    assert len(given) == 4
    assert (given[0].prefix, given[0].placements, given[0].words) == ("libero_spatial", ["official", "wide"], [])
    assert (given[1].prefix, given[1].placements, given[1].words) == ("mine", ["wide"], ["suite.task_ids=[0,3]"])
    assert (given[1].episodes, given[1].side_episodes) == (5, 2)
    assert (given[2].prefix, given[2].episodes, given[2].arms) == ("libero_spatial", 80, ["adaptive"])
    assert given[3].publish_only and given[3].prune and not given[0].prune


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--placements wdie", "invalid choice: 'wdie'"),
        ("mine stray", "stray: expected key=value"),
        ("--episodes 80", "from state 30 on, the official placement has 20 states a task"),
        ("--episodes 21", "has 20 states a task"),
        ("--first-state 50 --episodes 5", "has 0 states a task"),
        ("--first-state -1", "expected at least 0, got -1"),
        ("suite.first_state=3", "choose with --first-state"),
        ("suite.init_indices=[3]", "choose with --first-state"),
        ("--episodes 2 --side-episodes 3", r"--side-episodes: expected 1\.\.2"),
        ("--episodes -1", "--episodes: expected at least 1, got -1"),
        ("--episodes 1 --first-state 60", "from state 60 on, the official placement has 0 states a task"),
        ("--arms none", "invalid choice: 'none'"),
        ("suite.placement=wide", "suite.placement=wide: every run of the tables has its own; choose with --placements"),
        ("suite=libero_goal", "suite=libero_goal: .* the tables are libero_spatial's"),
        ("mine ++cache=paper", r"cache=paper: .* choose with --arms"),
        ("cache.tau=0.5", "cache.tau=0.5: .* choose with --arms"),
        ("run_id=mine", "run_id=mine: .* the first word is the prefix"),
        ("suite.episodes_per_task=3", "choose with --episodes"),
    ],
)
def test_what_makes_no_tables_is_refused(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(shlex.split(line))
    assert re.search(message, capsys.readouterr().err)


def test_a_stage_of_one_arm_runs_it_and_its_baseline() -> None:
    runs = configs("tables", "wide", 80, 5, [], ["adaptive"])
    assert list(runs) == ["none", "adaptive"]
    assert {run.suite.episodes_per_task for run in runs.values()} == {80}
    assert runs["adaptive"].runner.shared_baseline == "tables_wide/none"


def test_tables_begin_behind_the_states_that_were_watched() -> None:
    assert {run.suite.first_state for run in configs("tables", "wide", 20, 5, []).values()} == {30}
    calls = commands("tables", "wide", 20, 5, [], [], parse(["--first-state", "7"]).first_state)
    assert [compose_run(call).config.suite.first_state for call in calls] == [7]


def test_a_run_that_has_grown_keeps_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_run) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_run("results/tables_wide/none") / "run.json"
    data = json.loads(path.read_text())
    data["config"] = {**data["config"], "suite": {"episodes_per_task": 80}}
    path.write_text(json.dumps(data))
    runs = configs("tables", "wide", 20, 5, [])
    assert runs["none"].suite.episodes_per_task == 80
    assert runs["paper"].suite.episodes_per_task == 20
    assert configs("tables", "wide", 100, 5, [])["none"].suite.episodes_per_task == 100


def test_the_plain_command_makes_arms_as_large_as_the_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_run
) -> None:
    """On a fresh clone, where no run is: the one command makes again what is published; a number asks for that many."""
    monkeypatch.chdir(tmp_path)
    for name, size in (("none", 80), ("adaptive", 80), ("static", 5)):
        write_run(f"results/tables/mine_wide/{name}", config={"seed": 0, "suite": {"episodes_per_task": size}})
    calls: list[list[str]] = []
    monkeypatch.setattr(script, "call_run", lambda words: calls.append(words) or 0)
    monkeypatch.setattr(script, "publish_all", lambda *_, **__: None)
    words = ["mine", "--placements", "wide", "--arms", "adaptive", "static", "paper"]
    for more, sizes in (((), [80, 80, 20, 5]), (("--episodes", "30", "--prune"), [30, 30, 30, 5])):
        calls.clear()
        assert script.make_tables(parse([*words, *more])) == 0
        assert [compose_run(call).config.suite.episodes_per_task for call in calls] == sizes


def test_blind_has_the_model_of_the_table() -> None:
    common = ["suite=libero_spatial", "model=tiny_openvla", "model.decode=speculative", "model.dtype=float32"]
    model = compose_run(control_words("blind", common)).config.model
    assert (model.name, model.base, model.checkpoint, model.dtype) == ("blind", "tiny_openvla", "builtin", "float32")
    named = compose_run(control_words("blind", [*common, "model.checkpoint=some/where"])).config.model
    assert named.checkpoint == "some/where"
    assert compose_run(control_words("replay", common)).config.model.name == "replay"


def test_a_control_of_another_table_is_no_control(write_run: Callable[..., Path]) -> None:
    suite = {"placement": "wide", "max_steps": 220}
    baseline = replace(
        read_run(write_run()), model="tiny_oft", checkpoint="tiny_oft@a", config={"suite": suite, "seed": 0}
    )
    check_control(replace(baseline, model="blind"), baseline)
    check_control(replace(baseline, model="replay", checkpoint=None), baseline)
    with pytest.raises(ValueError, match=r"checkpoint: 'tiny_oft@b', the table's 'tiny_oft@a'\. Move it away"):
        check_control(replace(baseline, model="blind", checkpoint="tiny_oft@b"), baseline)
    changes = ({**suite, "placement": "official"}, {**suite, "first_state": 20})
    for change in (*({"suite": changed} for changed in changes), {"suite": suite, "seed": 1}):
        with pytest.raises(ValueError, match="is no control of"):
            check_control(replace(baseline, model="replay", config={**baseline.config, **change}), baseline)


def test_published_episodes_give_the_published_counts(sweep_template: Path, tmp_path: Path) -> None:
    sweep, target = tmp_path / "tables_official", tmp_path / "tables" / "tables_official"
    shutil.copytree(sweep_template, sweep)
    publish(sweep, target)
    table = pd.read_csv(target / "sweep.csv").set_index("arm")
    assert sorted(table.index) == sorted(path.parent.name for path in target.glob("*/episodes.jsonl"))
    for arm, row in table.iterrows():
        records = [r for r in read_episodes(target / str(arm)) if r.arm == "policy"]
        assert sum(r.status == "success" for r in records) == row["successes"]
    assert not list(target.rglob("*.parquet")) and (target / "sweep.png").stat().st_size > 10_000


def test_arms_without_a_pair_and_arms_that_are_gone_are_not_published(sweep_template: Path, tmp_path: Path) -> None:
    sweep, target = tmp_path / "tables_official", tmp_path / "tables" / "tables_official"
    shutil.copytree(sweep_template, sweep)
    publish(sweep, target)
    (target / "ratio-0.5" / "notes.md").write_text("a person's own")
    for arm in ("ratio-0.5", "ratio-0.8"):
        shutil.rmtree(sweep / arm)
    path = sweep / "ratio-0.2" / "episodes.jsonl"  # cut off after the first arm of its first pair
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    publish(sweep, target, prune=True)
    assert sorted(folder.name for folder in target.iterdir() if folder.is_dir()) == ["adaptive", "ratio-0.5"]


def shown(table: Path) -> dict[str, bytes]:
    return {str(path.relative_to(table)): path.read_bytes() for path in table.rglob("*") if path.is_file()}


def test_published_arms_neither_go_nor_shrink_unasked(
    sweep_template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, target = tmp_path / "tables_official", tmp_path / "tables" / "tables_official"
    shutil.copytree(sweep_template, sweep)
    publish(sweep, target)
    before = shown(target)
    shutil.rmtree(sweep / "ratio-0.8")
    path = sweep / "ratio-0.5" / "episodes.jsonl"  # three of its eight pairs
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:6]))
    with pytest.raises(ValueError, match="give --prune to let them go") as caught:
        publish(sweep, target)
    assert f"{target / 'ratio-0.5'} (8 pairs published, 3 here)" in str(caught.value)
    assert f"{target / 'ratio-0.8'} (8 pairs published, none here)" in str(caught.value)
    assert "ratio-0.2" not in str(caught.value) and "adaptive" not in str(caught.value)
    assert shown(target) == before, "a refusal writes nothing"
    capsys.readouterr()
    publish(sweep, target, prune=True)
    told = capsys.readouterr().out
    assert "ratio-0.8 goes or shrinks: 8 pairs published, none here" in told and "ratio-0.5 goes or" in told
    assert not (target / "ratio-0.8").exists() and len(read_episodes(target / "ratio-0.5")) == 6
    publish(sweep, target)  # as it is now, nothing is lost


def recorded_with(run: Path, code: str, checkpoint: str) -> None:
    data = json.loads((run / "run.json").read_text())
    data["versions"]["code"], data["checkpoint"] = code, checkpoint
    (run / "run.json").write_text(json.dumps(data))


def test_arms_of_other_weights_or_code_are_named_and_not_mixed(write_run, tmp_path: Path) -> None:
    sweep, target = tmp_path / "mine_official", tmp_path / "tables" / "mine_official"
    for name, knobs in (("none", {"cache": "none", "arms": ("baseline",)}), ("adaptive", {}), ("paper", {})):
        recorded_with(write_run(f"mine_official/{name}", num_inits=2, **knobs), "old", "tiny_oft@old")
    publish(sweep, target)
    shutil.rmtree(sweep / "paper")
    for name in ("none", "adaptive"):
        recorded_with(sweep / name, "new", "tiny_oft@new")
    before = shown(target)
    with pytest.raises(ValueError, match="made with weights tiny_oft@old, not tiny_oft@new, code old, not new"):
        publish(sweep, target)
    assert shown(target) == before
    publish(sweep, target, prune=True)
    assert sorted(path.parent.name for path in target.glob("*/run.json")) == ["adaptive", "none"]
    recorded_with(sweep / "adaptive", "newer", "tiny_oft@new")
    with pytest.raises(ValueError, match=r"got adaptive: code newer, not new\. Move these runs away"):
        publish(sweep, target, prune=True)


def test_runs_whose_table_would_lose_something_are_not_begun(
    write_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a fresh clone: tables are there, runs are not."""
    monkeypatch.chdir(tmp_path)
    for name in ("none", "adaptive", "static"):
        write_run(f"results/tables/mine_wide/{name}")
    write_run("results/tables/mine_controls/blind_wide", cache="none", arms=("baseline",), num_inits=8)
    calls: list[Any] = []
    monkeypatch.setattr(script, "call_run", lambda call: calls.append(call) or 5)
    words = ["reference_tables.py", "mine", "suite.task_ids=[0,1]", "--placements", "wide", "--side-episodes", "1"]

    def code(*more: str) -> int:
        monkeypatch.setattr("sys.argv", [*words, *more])
        return script.main()

    assert code("--episodes", "4", "--arms", "adaptive") == 2 and not calls
    assert "mine_wide/static (8 pairs published, none here): run these arms" in capsys.readouterr().err
    assert code("--episodes", "4", "--side-episodes", "4", "--arms", "adaptive", "static", "blind") == 2 and not calls
    assert "blind_wide (16 pairs published, at most 8 asked for): run" in capsys.readouterr().err
    assert code("--episodes", "4", "--side-episodes", "4", "--arms", "adaptive", "static") == 5 and len(calls) == 1
    assert code("--episodes", "1", "--prune") == 5 and len(calls) == 2


def test_controls_neither_shrink_nor_stay_beside_another_baseline(
    write_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    suite = {"name": "libero_spatial", "placement": "official", "max_steps": 220}
    alone = {"cache": "none", "arms": ("baseline",), "config": {"seed": 0, "suite": suite}, "checkpoint": "tiny@new"}
    write_run("results/mine_official/none", **alone)
    write_run("results/mine_official/adaptive", **{**alone, "cache": "adaptive", "arms": ("baseline", "policy")})
    old = {**alone, "model": "blind", "checkpoint": "tiny@old"}
    published = write_run("results/tables/mine_controls/blind_official", **old)
    with pytest.raises(ValueError, match=r"blind_official .*checkpoint: 'tiny@old'.*give --prune"):
        script.publish_all("mine", "official")
    assert published.is_dir() and not (tmp_path / "results/tables/mine_official").exists()
    shutil.rmtree(published)
    larger = {**alone, "model": "blind", "num_inits": 8}
    write_run("results/tables/mine_controls/blind_official", **larger)
    write_run("results/mine_controls/blind_official", **{**larger, "num_inits": 2})
    with pytest.raises(ValueError, match=r"blind_official \(16 pairs published, 4 here\)"):
        script.publish_all("mine", "official")
    script.publish_all("mine", "official", prune=True)
    assert len(read_episodes(published)) == 4


def test_publishing_nothing_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["reference_tables.py", "mine", "--publish-only"])
    assert script.main() == 2
    error = capsys.readouterr().err
    assert error.startswith("error: results/mine_official: no such sweep folder") and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
