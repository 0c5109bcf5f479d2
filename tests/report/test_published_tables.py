"""The tables in ``results/tables``: of the shipped weights, with the episodes they count, quoted by the front page."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import pandas as pd
import pytest

from runners.journal import read_episodes, read_run
from runners.report.call_table import CALLS_FILE
from tests.report.figures_of_calls import figures_of_calls
from vlacache.models.factory import PACKAGED

PLACEMENTS = ("official", "wide")


def rows_of(repo_root: Path, placement: str) -> dict[str, dict[str, str]]:
    """Lines of ``sweep.csv`` by arm."""
    path = repo_root / "results" / "tables" / f"libero_spatial_{placement}" / "sweep.csv"
    return {row["arm"]: row for row in csv.DictReader(path.read_text().splitlines())}


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_every_arm_and_control_is_of_the_shipped_weights(repo_root: Path, placement: str) -> None:
    digest = hashlib.sha256((PACKAGED / "tiny_oft" / "model.safetensors").read_bytes()).hexdigest()
    tables = repo_root / "results" / "tables"
    runs = [
        *tables.glob(f"libero_spatial_{placement}/*/run.json"),
        tables / f"libero_spatial_controls/blind_{placement}/run.json",
    ]
    assert {path.parent.name for path in runs} >= {"none", "adaptive", "static", "static_task", f"blind_{placement}"}
    assert {read_run(path.parent).checkpoint for path in runs} == {f"tiny_oft@{digest[:12]}"}


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_counts_are_those_of_the_episodes_beside_them(repo_root: Path, placement: str) -> None:
    for arm, row in rows_of(repo_root, placement).items():
        folder = repo_root / "results" / "tables" / f"libero_spatial_{placement}" / arm
        last = {record.key: record for record in read_episodes(folder) if record.arm == "policy"}
        pairs = [record for record in last.values() if record.status != "error"]
        assert (len(pairs), sum(record.status == "success" for record in pairs)) == (
            int(row["num_pairs"]), int(row["successes"]),
        ), arm  # fmt: skip


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_reuse_and_speed_are_those_of_the_calls_beside_them(repo_root: Path, placement: str) -> None:
    for arm, row in rows_of(repo_root, placement).items():
        table = pd.read_csv(repo_root / "results" / "tables" / f"libero_spatial_{placement}" / arm / CALLS_FILE)
        found = figures_of_calls(table)
        assert found == pytest.approx({name: float(row[name]) for name in found}, rel=1e-4, abs=1e-9), arm


def test_the_story_of_the_weights_quotes_them(repo_root: Path) -> None:
    """docs/training.md, of states 30 to 49: successes, those of the first and second halves, the official drawer."""
    solved = {}
    for placement in PLACEMENTS:
        folder = repo_root / "results" / "tables" / f"libero_spatial_{placement}" / "none"
        last = {record.key: record for record in read_episodes(folder) if record.init_index < 50}
        solved[placement] = [record.key for record in last.values() if record.status == "success"]
    halves = [[sum(key.init_index < 40 for key in solved[placement]) for placement in PLACEMENTS]]
    halves.append([len(solved[placement]) - first for placement, first in zip(PLACEMENTS, halves[0], strict=True)])
    drawer = sum(key.task_id == 4 for key in solved["official"])
    text = " ".join((repo_root / "docs" / "training.md").read_text().split())
    official, wide = (len(solved[placement]) for placement in PLACEMENTS)
    told = (
        f"{halves[0][0]} and {halves[0][1]} of the first halves, {halves[1][0]} and {halves[1][1]} of the second ones"
    )
    assert f"mend): {official} of 200 official, {wide} of 200 wide; of those, {told}" in text
    assert f"official drawer run 10 solves {drawer} of 20 (states 30 to 49;" in text


def test_the_front_page_quotes_them(repo_root: Path) -> None:
    """The reference table of README.md: reuse, success, limit, verdict and speed-up of each arm that it names."""
    quoted = 0
    for line in (repo_root / "README.md").read_text().splitlines():
        cells = [cell.strip(" `*") for cell in line.split("|")[1:-1]]
        if len(cells) == 8 and cells[0] in PLACEMENTS:
            row = rows_of(repo_root, cells[0])[cells[1]]
            assert cells[2:] == [
                f"{100 * float(row['reuse_ratio']):.1f} %",
                f"{row['successes']}/{row['num_pairs']}",
                f"{row['baseline_successes']}/{row['num_pairs']}",
                f"{100 * float(row['difference_lower95']):+.1f}",
                row["non_inferior_at_5_points"],
                f"{float(row['speedup']):.2f}x [{float(row['speedup_low']):.2f}, {float(row['speedup_high']):.2f}]",
            ]
            quoted += 1
    assert quoted >= 4
