"""A sweep becomes one table, one CSV and one picture; arms that are not comparable are refused."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from runners.report import build_summary, load_run
from runners.report.non_inferiority import Margin
from runners.report.sweep import print_sweep, write_sweep_report
from runners.report.sweep_plot import plot_sweep
from runners.report.sweep_table import format_sweep_table

WriteRun = Callable[..., Path]


@pytest.fixture
def sweep_dir(sweep_template: Path, tmp_path: Path) -> Path:
    """A sweep of three fixed ratios and ``adaptive``; ``write_run("sweep/<arm>", ...)`` adds an arm to it."""
    return Path(shutil.copytree(sweep_template, tmp_path / "sweep"))


def test_rows_are_those_of_the_arms(sweep_dir: Path) -> None:
    sweep = write_sweep_report(sweep_dir)
    assert [row["arm"] for row in sweep.arms] == ["adaptive", "ratio-0.2", "ratio-0.5", "ratio-0.8"]
    table = pd.read_csv(sweep_dir / "sweep.csv").set_index("arm")
    for arm in table.index:
        summary = build_summary(load_run(sweep_dir / arm))
        row = table.loc[arm]
        assert row["reuse_ratio"] == summary["reuse_ratio"]
        assert row["success"] == summary["success_rate"]["policy"]
        assert row["speedup"] == summary["speedup"]["end_to_end"]
        assert row["speedup_median"] == summary["speedup"]["end_to_end_median"]
        assert row["latency_mean_ms"] == summary["latency_ms"]["policy"]["mean"]
        assert [row["success_low"], row["success_high"]] == summary["success_rate"]["policy_ci95"]
        assert row["timed_pairs"] == summary["speedup"]["num_pairs"]
        assert row["macs"] == summary["macs"]["policy"]
    assert table["requested_reuse_ratio"].dropna().to_dict() == {"ratio-0.2": 0.2, "ratio-0.5": 0.5, "ratio-0.8": 0.8}
    assert sweep.reference["success"] == build_summary(load_run(sweep_dir / "adaptive"))["success_rate"]["baseline"]


def test_sweep_is_deterministic(sweep_dir: Path) -> None:
    names = ("sweep.csv", "sweep.md", "sweep.png")
    write_sweep_report(sweep_dir)
    first = {name: (sweep_dir / name).read_bytes() for name in names}
    write_sweep_report(sweep_dir)
    assert {name: (sweep_dir / name).read_bytes() for name in names} == first


def test_table_fits_100_columns(sweep_dir: Path) -> None:
    sweep = write_sweep_report(sweep_dir)
    text = format_sweep_table(sweep)
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    assert "UNTRAINED weights" in text.splitlines()[1]
    stream = io.StringIO()
    print_sweep(sweep, stream)
    assert stream.getvalue() == text


def test_picture_shows_what_was_measured(sweep_dir: Path) -> None:
    sweep = write_sweep_report(sweep_dir)
    with Image.open(sweep_dir / "sweep.png") as picture:
        assert picture.width == 1200
    upper, lower = plot_sweep(sweep).axes[:2]
    ratios = [row for row in sweep.arms if row["cache"] == "fixed_ratio"]
    for axes, values in (
        (upper, [100 * row["success"] for row in ratios]),
        (lower, [100 / row["speedup"] for row in ratios]),
    ):
        line = next(line for line in axes.lines if str(line.get_label()).startswith("fixed_ratio"))
        x, y = np.asarray(line.get_xydata()).T
        assert x == pytest.approx([100 * row["reuse_ratio"] for row in ratios])
        assert y == pytest.approx(values)
        assert axes.get_ylim()[0] == 0.0
        assert sorted(text.get_text() for text in axes.texts) == ["0.2", "0.5", "0.8", "adaptive"]


@pytest.mark.parametrize(
    ("what", "knobs"),
    [
        ("assets_provenance", {"assets": {"source": "official", "digest": "ff", "render": "reference", "detail": ""}}),
        ("device", {"device": "cuda:0"}),
        ("clock", {"clock": "cuda_event"}),
        ("weights", {"weights": "trained"}),
        ("model", {"model": "openvla"}),
        ("episode_rules", {"config": {"seed": 0, "suite": {"settings": ["base", "darker"]}}}),
        ("episode_rules", {"config": {"seed": 0, "suite": {"sensor_noise": 2.0}}}),
        ("episode_rules", {"config": {"seed": 0, "suite": {"protocol": "maniskill3"}}}),
    ],
)
def test_mixed_arms_are_refused(sweep_dir: Path, write_run: WriteRun, what: str, knobs: dict[str, object]) -> None:
    write_run("sweep/other", cache="paper", **knobs)
    with pytest.raises(ValueError, match=f"expected one {what} in a sweep, got .* in other"):
        write_sweep_report(sweep_dir)


def test_mixed_placement_is_refused(sweep_dir: Path, write_run: WriteRun) -> None:
    other = write_run("sweep/other", cache="paper", num_tasks=0)
    rows = [json.loads(line) for line in (sweep_dir / "adaptive" / "episodes.jsonl").read_text().splitlines()]
    moved = [{**row, "status": "error", "placement": "wide"} for row in rows if row["arm"] == "baseline"]
    (other / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in moved))
    with pytest.raises(ValueError, match="expected one placement in a sweep"):
        write_sweep_report(sweep_dir)


def test_unequal_and_unfinished_arms_are_named(sweep_dir: Path, write_run: WriteRun) -> None:
    write_run("sweep/short", cache="paper", num_inits=2, errors=frozenset({("policy", 0, 0)}))
    started = write_run("sweep/started", cache="official", num_tasks=0)
    (started / "episodes.jsonl").unlink()
    (sweep_dir / "logs").mkdir()
    sweep = write_sweep_report(sweep_dir)
    assert sweep.skipped == {"started": "no episode yet"}
    text = " ".join(format_sweep_table(sweep).split())
    assert "8 pairs over all arms; with fewer: short 3." in text
    assert "Left out: started (no episode yet)." in text
    assert "Error episodes, left out with their pairs: short 1." in text


def test_no_cache_arm_is_the_reference(sweep_dir: Path, write_run: WriteRun) -> None:
    write_run("sweep/none", cache="none", arms=("baseline",), success=(1.0, 1.0))
    sweep = write_sweep_report(sweep_dir)
    assert "none" not in [row["arm"] for row in sweep.arms]
    assert (sweep.reference["success"], sweep.reference["successes"]) == (1.0, 8)


def test_arm_stopped_before_its_first_pair_is_left_out(sweep_dir: Path, write_run: WriteRun) -> None:
    empty = write_run("sweep/empty", cache="paper", num_tasks=0)
    (empty / "episodes.jsonl").write_text("")
    write_run("sweep/half", cache="official", num_tasks=1, num_inits=1, arms=("baseline",))
    sweep = write_sweep_report(sweep_dir)
    assert [row["arm"] for row in sweep.arms] == ["adaptive", "ratio-0.2", "ratio-0.5", "ratio-0.8"]
    assert sweep.skipped == {"empty": "no finished pair yet", "half": "no finished pair yet"}
    assert "0/0" not in format_sweep_table(sweep)


def test_arm_of_errors_alone_is_shown_without_figures(sweep_dir: Path, write_run: WriteRun) -> None:
    write_run("sweep/bad", cache="paper", num_tasks=1, num_inits=1, errors=frozenset({("policy", 0, 0)}))
    sweep = write_sweep_report(sweep_dir)
    row = next(row for row in sweep.arms if row["arm"] == "bad")
    assert (row["success"], row["speedup"], row["reuse_ratio"]) == (None, None, None)
    assert "n/a" in format_sweep_table(sweep)


def test_folder_of_bare_arms_says_so(write_run: WriteRun, tmp_path: Path) -> None:
    empty = write_run("sweep/empty", cache="paper", num_tasks=0)
    (empty / "episodes.jsonl").write_text("")
    with pytest.raises(FileNotFoundError, match=r"no arm with records \(empty: no finished pair yet\)"):
        write_sweep_report(tmp_path / "sweep")


def test_placement_is_in_every_table_and_in_the_picture(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("sweep/adaptive", placement="wide")
    sweep = write_sweep_report(tmp_path / "sweep")
    assert "libero_spatial, wide placement" in format_sweep_table(sweep).splitlines()[1]
    assert "libero_spatial, wide placement" in (tmp_path / "sweep" / "sweep.md").read_text().splitlines()[0]
    assert pd.read_csv(tmp_path / "sweep" / "sweep.csv")["placement"].tolist() == ["wide"]
    assert any("libero_spatial, wide placement" in text.get_text() for text in plot_sweep(sweep).texts)


def test_one_pair_is_singular(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("sweep/adaptive", num_tasks=1, num_inits=1)
    titles = [axes.get_title(loc="left") for axes in plot_sweep(write_sweep_report(tmp_path / "sweep")).axes[:2]]
    assert "(1 pair an arm)" in titles[0] and "(1 timed pair an arm)" in titles[1]


def test_every_arm_is_judged_at_the_given_margins(sweep_dir: Path, write_run: WriteRun) -> None:
    write_run("sweep/good", cache="paper", success=(1.0, 1.0), num_tasks=2, num_inits=30, reuse=0.3, traces=False)
    sweep = write_sweep_report(sweep_dir, margins=(Margin(0.05, 60), Margin(0.02, 800)))
    table = pd.read_csv(sweep_dir / "sweep.csv").set_index("arm")
    assert table.loc["good", ["non_inferior_at_5_points", "non_inferior_at_2_points"]].tolist() == ["yes", "not yet"]
    assert table.loc["good", "difference_lower95"] == pytest.approx(-2.7055 / 62.7055, rel=1e-4)
    assert table.loc["adaptive", "non_inferior_at_5_points"] == "not yet"
    row = next(line for line in (sweep_dir / "sweep.md").read_text().splitlines() if line.startswith("| good | 60 |"))
    assert [cell.strip() for cell in row.split("|")][3:6] == ["-4.3", "yes", "not yet"]
    lines = format_sweep_table(sweep).splitlines()
    (told,) = (line.split() for line in lines if line.startswith(" good") and "yes" in line)
    assert told[:6] == ["good", "60", "-4.3", "yes", "not", "yet"]
    assert any("on 60 pairs" in line for line in lines)
    assert "Non-inferior to no cache at M points" in " ".join(" ".join(lines).split())


def test_long_names_leave_the_prefill_out_and_cut_nothing(sweep_dir: Path, write_run: WriteRun) -> None:
    assert "prefill" in format_sweep_table(write_sweep_report(sweep_dir))
    write_run("sweep/adaptive-no_max_ages", success=(1.0, 0.5), num_tasks=1, num_inits=100, traces=False)
    text = format_sweep_table(write_sweep_report(sweep_dir))
    assert "prefill" not in text and "…" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_table_says_which_states_it_is_of(sweep_dir: Path, write_run: WriteRun) -> None:
    write_run("sweep/more", success=(1.0, 0.5), num_tasks=1, num_inits=12, traces=False)
    expected = "Initial states 0 to 11 of the tasks' lists, seed 0; arms with fewer pairs: 0 to 3."
    assert expected in write_sweep_report(sweep_dir).notes


def test_folder_without_arms(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such sweep folder"):
        write_sweep_report(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no arm with records"):
        write_sweep_report(tmp_path / "empty")
