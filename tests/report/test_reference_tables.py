"""The reference tables: every call is one that run.py takes, and what is published can be counted again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from runners.journal import read_episodes
from runners.overrides import compose_run
from scripts.reference_tables import ARMS, commands, publish


@pytest.mark.parametrize("placement", ["official", "wide"])
def test_every_call_is_valid(placement: str) -> None:
    calls = commands("tables", placement, 20, 5, ["model.checkpoint=builtin", "suite.task_ids=[0,3]"])
    runs = [compose_run(words).config for words in calls]
    assert len(runs) == len({run.run_id for run in runs}) == 3 + len(ARMS)
    assert {run.suite.placement for run in runs} == {placement}
    episodes = {run.run_id.split("/")[1]: run.suite.episodes_per_task for run in runs if run.run_id}
    assert episodes["none"] == episodes["paper"] == episodes[f"blind_{placement}"] == 20
    assert episodes["random-0.4"] == episodes["adaptive-no_max_age"] == 5
    assert [run.model.name for run in runs[:3]] == ["tiny_oft", "blind", "replay"]
    assert all(run.runner.shared_baseline == "tables_" + placement + "/none" for run in runs[3:])


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
