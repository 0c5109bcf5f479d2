"""What is written into a run's folder: files, their bytes, and that the same records give them again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runners.report import format_table, load_run, plots, write_report
from runners.report.ledger import policy_calls
from runners.report.reuse_map import mean_reuse_map, reuse_by_layer
from runners.report.write import to_json

WriteRun = Callable[..., Path]


def _digests(run: Path) -> dict[str, str]:
    files = [run / "summary.json", run / "report.md", *sorted((run / "plots").iterdir())]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_report_is_complete_and_deterministic(write_run: WriteRun) -> None:
    run = write_run(num_tasks=2, num_inits=3)
    summary = write_report(run)
    first = _digests(run)
    assert set(first) == {
        "summary.json", "report.md", "success.png", "latency_stages.png", "latency_calls.png", "reuse.png"
    }  # fmt: skip
    assert json.loads((run / "summary.json").read_text()) == summary
    write_report(run)
    assert _digests(run) == first
    assert list(run.glob("**/.*")) == []  # no temporary file stays


def test_records_are_not_touched(write_run: WriteRun) -> None:
    run = write_run(num_tasks=1, num_inits=2)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    write_report(run)
    assert {path: path.read_bytes() for path in before} == before


def test_placement_is_in_every_table_and_picture(write_run: WriteRun, monkeypatch: pytest.MonkeyPatch) -> None:
    subtitles = []
    monkeypatch.setattr(plots, "write_title", lambda figure, title, subtitle: subtitles.append(subtitle))
    run = write_run(num_tasks=1, num_inits=2, placement="wide")
    summary = write_report(run)
    assert len(subtitles) == 4
    assert all(text.startswith("libero_spatial, wide placement · tiny_oft") for text in subtitles)
    assert (run / "report.md").read_text().startswith("# libero_spatial, wide placement · tiny_oft")
    assert format_table(summary).splitlines()[1].startswith(" libero_spatial, wide placement · tiny_oft")


def test_markdown_links_its_own_plots(write_run: WriteRun) -> None:
    run = write_run(num_tasks=2, num_inits=3, errors=frozenset({("policy", 0, 0)}))
    write_report(run)
    text = (run / "report.md").read_text()
    links = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(links) == 4
    assert all((run / link).is_file() for link in links)
    assert str(run.parent) not in text  # no path of this machine
    assert "UNTRAINED weights" in text.splitlines()[0]
    assert "`policy-adaptive-libero_spatial-t00-i000-s0-official` | RuntimeError: simulator" in text
    for line in text.splitlines():
        assert not line.startswith("|") or line.endswith("|")


def test_plots_are_readable_pictures(write_run: WriteRun) -> None:
    run = write_run(num_tasks=3, num_inits=6)
    write_report(run)
    for path in (run / "plots").iterdir():
        with Image.open(path) as picture:
            assert picture.width == 1200
            pixels = np.asarray(picture.convert("RGB"))
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
        edge = np.concatenate([pixels[:4].reshape(-1, 3), pixels[-4:].reshape(-1, 3), pixels[:, -4:].reshape(-1, 3)])
        assert (edge == 255).all(), f"{path.name}: something runs into the edge"


def test_plots_without_data_are_not_left_over(write_run: WriteRun) -> None:
    run = write_run(cache="none", arms=("baseline",))
    (run / "plots").mkdir()
    (run / "plots" / "reuse.png").write_bytes(b"of an earlier report")
    write_report(run)
    assert not (run / "plots" / "reuse.png").exists()
    assert "reuse.png" not in (run / "report.md").read_text()


@pytest.mark.parametrize(
    "knobs",
    [
        {"num_tasks": 1, "num_inits": 1},
        {"traces": False},
        {"reused": frozenset((t, i) for t in range(2) for i in range(4))},
        {"errors": frozenset({("policy", t, i) for t in range(2) for i in range(4)})},
        {"success": (0.0, 0.0)},
    ],
    ids=["one pair", "no traces", "no timed baseline", "errors only", "no success"],
)
def test_poor_runs_still_give_a_report(write_run: WriteRun, knobs: dict[str, object]) -> None:
    run = write_run(**knobs)
    write_report(run)
    assert (run / "report.md").read_text().startswith("# libero_spatial")


def test_empty_run_gives_a_report(write_run: WriteRun) -> None:
    run = write_run(num_tasks=0)
    (run / "episodes.jsonl").write_text("")
    summary = write_report(run)
    assert summary["success_rate"]["policy"] is None
    assert "No scored pair" in (run / "report.md").read_text()


def test_json_refuses_what_is_not_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"value": float("nan")})


@given(
    st.integers(1, 12).flatmap(
        lambda layers: st.tuples(st.just(layers), st.lists(st.integers(0, layers), min_size=1, max_size=40))
    )
)
def test_reuse_by_layer_is_the_naive_count(case: tuple[int, list[int]]) -> None:
    num_layers, counts = case
    shares = reuse_by_layer(bytes(counts), num_layers)
    naive = [sum(c >= num_layers - layer for c in counts) / len(counts) for layer in range(num_layers)]
    assert shares == pytest.approx(naive, abs=1e-12)
    assert shares.mean() == pytest.approx(sum(counts) / (len(counts) * num_layers), abs=1e-12)  # the reuse ratio


def test_reuse_by_layer_refuses_a_foreign_trace() -> None:
    with pytest.raises(ValueError, match="at most num_layers = 4, got 2 with maximum 5"):
        reuse_by_layer(bytes([1, 5]), 4)


def test_reuse_map_averages_over_episodes(write_run: WriteRun) -> None:
    run = write_run(num_tasks=1, num_inits=3)
    calls = policy_calls(load_run(run).steps)
    policy = calls[calls["arm"] == "policy"]
    strip = mean_reuse_map(policy, 6)
    assert strip is not None
    assert strip.shape == (6, policy["call_index"].max() + 1)
    assert (strip[:, 0] == 0.0).all()  # the cold call
    third = policy[policy["call_index"] == 3]["reused_layers"]
    expected = np.mean([np.frombuffer(trace, np.uint8).mean() / 6 for trace in third])
    assert strip[:, 3].mean() == pytest.approx(expected, abs=1e-12)
    assert mean_reuse_map(policy.drop(columns="reused_layers"), 6) is None
