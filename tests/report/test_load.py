"""Reading records: tidy frames from good ones, one clear error from each kind of bad one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runners.report import load_run

WriteRun = Callable[..., Path]


def _rows(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]


def _rewrite(run: Path, rows: list[dict[str, object]]) -> None:
    (run / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_frames_are_tidy(write_run: WriteRun) -> None:
    run = write_run(num_tasks=2, num_inits=3)
    frames = load_run(run)
    assert frames.run["model"] == "tiny_oft"
    assert len(frames.episodes) == 12
    assert frames.episodes["slug"].is_unique
    assert len(frames.superseded) == 0
    assert frames.steps.groupby("slug").size().to_dict() == frames.episodes.set_index("slug")["num_steps"].to_dict()
    calls = frames.steps[frames.steps["policy_call"]]
    expected = frames.episodes.set_index("slug")["num_policy_calls"].to_dict()
    assert calls.groupby("slug").size().to_dict() == expected
    others = frames.steps[~frames.steps["policy_call"]]
    assert others[["total_ms", "reuse_ratio", "reused_layers"]].isna().all().all()
    assert set(frames.steps["arm"]) == {"baseline", "policy"}


def test_traces_can_be_left_out(write_run: WriteRun) -> None:
    run = write_run(num_tasks=1, num_inits=1)
    assert "reused_layers" in load_run(run).steps
    assert "reused_layers" not in load_run(run, traces=False).steps


def test_the_last_row_of_a_key_wins(write_run: WriteRun, append_row: Callable[..., None]) -> None:
    run = write_run(num_tasks=1, num_inits=2)
    before = load_run(run).episodes
    append_row(run, status="error", error="Traceback\nRuntimeError: boom", attempt=2)
    append_row(run, status="success", error=None, attempt=3)
    frames = load_run(run)
    assert len(frames.episodes) == len(before)
    assert list(frames.superseded["attempt"]) == [1, 2]
    last = frames.episodes[frames.episodes["slug"] == frames.superseded["slug"].iloc[0]]
    assert last[["status", "attempt"]].to_numpy().tolist() == [["success", 3]]


def test_error_episode_needs_no_steps(write_run: WriteRun) -> None:
    run = write_run(num_tasks=1, num_inits=2, errors=frozenset({("policy", 0, 1)}))
    assert len(load_run(run).steps["slug"].unique()) == 3


def test_run_without_an_episode_loads(write_run: WriteRun) -> None:
    run = write_run(num_tasks=0)
    (run / "episodes.jsonl").write_text("")
    frames = load_run(run)
    assert len(frames.episodes) == len(frames.steps) == 0
    assert {"arm", "status", "slug"} <= set(frames.episodes)


@pytest.mark.parametrize("name", ["run.json", "episodes.jsonl"])
def test_missing_file(write_run: WriteRun, name: str) -> None:
    run = write_run(num_tasks=1, num_inits=1)
    (run / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}: missing; expected a run folder"):
        load_run(run)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere/run\.json: missing"):
        load_run(tmp_path / "nowhere")


def test_missing_steps_of_a_finished_episode(write_run: WriteRun) -> None:
    run = write_run(num_tasks=1, num_inits=2)
    victim = next((run / "steps").iterdir())
    victim.unlink()
    with pytest.raises(FileNotFoundError, match=f"{victim.name}: missing, but episodes.jsonl says"):
        load_run(run)


def test_corrupt_line_is_named(write_run: WriteRun) -> None:
    run = write_run(num_tasks=1, num_inits=2)
    lines = (run / "episodes.jsonl").read_text().splitlines()
    lines[2] = lines[2][:40]
    (run / "episodes.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(RuntimeError, match=r"episodes.jsonl line 3: expected an episode record"):
        load_run(run)


def test_half_written_last_line_is_named_and_left_alone(write_run: WriteRun) -> None:
    run = write_run(num_tasks=1, num_inits=2)
    path = run / "episodes.jsonl"
    torn = path.read_bytes()[:-25]
    path.write_bytes(torn)
    with pytest.raises(RuntimeError, match=r"episodes.jsonl line 4"):
        load_run(run)
    assert path.read_bytes() == torn


def test_corrupt_run_record(write_run: WriteRun) -> None:
    run = write_run(num_tasks=1, num_inits=1)
    (run / "run.json").write_text('{"run_id": "demo"')
    with pytest.raises(ValueError, match=r"run.json: expected a run record"):
        load_run(run)


def test_unknown_schema_version(write_run: WriteRun) -> None:
    run = write_run(num_tasks=1, num_inits=1)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "schema_version": 7}))
    with pytest.raises(ValueError, match="schema_version 1, got 7"):
        load_run(run)
    (run / "run.json").write_text(json.dumps(record))
    _rewrite(run, [{**row, "schema_version": 7} for row in _rows(run)])
    with pytest.raises(RuntimeError, match=r"line 1.*schema_version 1, got 7"):
        load_run(run)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("asset provenance", {"assets": {"source": "official", "digest": "ff", "render": "reference"}}),
        ("placement", {"placement": "wide"}),
        ("suite", {"suite": "libero_goal"}),
        ("reseed", {"reseed": "task"}),
        ("policy cache", {"cache": "paper"}),
    ],
)
def test_mixtures_are_refused(write_run: WriteRun, what: str, change: dict[str, object]) -> None:
    run = write_run(num_tasks=1, num_inits=2)
    rows = _rows(run)
    _rewrite(run, [*rows[:-1], {**rows[-1], **change}])
    with pytest.raises(ValueError, match=f"expected one {what} in a run"):
        load_run(run)


def test_unknown_status(write_run: WriteRun) -> None:
    run = write_run(num_tasks=1, num_inits=1)
    rows = _rows(run)
    _rewrite(run, [rows[0], {**rows[1], "status": "crashed"}])
    with pytest.raises(ValueError, match=r"row 2: status expected one of .* got 'crashed'"):
        load_run(run)


def test_corrupt_and_foreign_step_files(write_run: WriteRun) -> None:
    run = write_run(num_tasks=1, num_inits=2)
    first, second, *_ = sorted((run / "steps").iterdir())
    content = first.read_bytes()
    first.write_bytes(content[: len(content) // 2])
    with pytest.raises(RuntimeError, match=first.name):
        load_run(run)
    shutil.copyfile(second, first)
    rows = _rows(run)
    _rewrite(run, [{**row, "num_steps": 55} for row in rows])
    with pytest.raises(RuntimeError, match=r"expected 55 rows \(num_steps of the episode\), got"):
        load_run(run)
