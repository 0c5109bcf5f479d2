"""Corrupt, torn and foreign records: a clear error or a repair, and nothing lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from runners.journal import EPISODES_FILE, read_episodes, read_run
from runners.store import RunStore
from tests.runner.helpers import ToyRun, make_run, outcome_of


@pytest.fixture
def finished(toy_run: ToyRun) -> ToyRun:
    toy_run()
    return toy_run


def _cut(path: Path, num_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:-num_bytes])


def test_torn_last_line_is_kept_aside_and_its_episode_runs_again(
    finished: ToyRun, caplog: pytest.LogCaptureFixture
) -> None:
    path = finished.run_dir / EPISODES_FILE
    before = read_episodes(finished.run_dir)
    whole_lines = path.read_bytes()[: path.read_bytes().rstrip(b"\n").rfind(b"\n") + 1]
    _cut(path, 100)
    torn = path.read_bytes()[len(whole_lines) :]

    outcome = finished()

    assert outcome.num_run == 1
    assert path.with_name("episodes.jsonl.torn-1").read_bytes() == torn
    assert "episodes.jsonl.torn-1" in caplog.text
    assert path.read_bytes().startswith(whole_lines)
    assert [outcome_of(r) for r in read_episodes(finished.run_dir)] == [outcome_of(r) for r in before]


def test_second_torn_line_does_not_overwrite_the_first(finished: ToyRun) -> None:
    path = finished.run_dir / EPISODES_FILE
    for number in (1, 2):
        _cut(path, 50)
        finished()
        assert path.with_name(f"episodes.jsonl.torn-{number}").exists()


def test_whole_record_without_line_feed_is_completed(finished: ToyRun) -> None:
    path = finished.run_dir / EPISODES_FILE
    content = path.read_bytes()
    _cut(path, 1)
    assert finished().num_run == 0
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda line: line[: len(line) // 2], "line 2"),
        (lambda line: b"[1, 2]", "schema_version"),
        (lambda line: line.replace(b'"schema_version": 1', b'"schema_version": 99'), "schema_version 1, got 99"),
        (lambda line: line.replace(b'"arm"', b'"arms"'), "unknown fields"),
        (lambda line: line.replace(b'"status": ', b'"status2": '), "unknown fields"),
    ],
)
def test_corrupt_line_is_named_and_nothing_changes(finished: ToyRun, damage, reason: str) -> None:
    path = finished.run_dir / EPISODES_FILE
    lines = path.read_bytes().splitlines()
    lines[1] = damage(lines[1])
    path.write_bytes(b"\n".join(lines) + b"\n")
    content = path.read_bytes()
    with pytest.raises(RuntimeError, match=r"line 2.*Nothing was changed") as error:
        finished()
    assert reason in str(error.value)
    assert path.read_bytes() == content


def test_deleted_line_is_rolled_out_again(finished: ToyRun) -> None:
    path = finished.run_dir / EPISODES_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:1] + lines[2:]))
    assert finished().num_run == 1
    assert len(read_episodes(finished.run_dir)) == len(lines)


def test_half_written_step_file_is_named(finished: ToyRun) -> None:
    steps = sorted((finished.run_dir / "steps").iterdir())[0]
    _cut(steps, 20)
    with pytest.raises(RuntimeError, match=rf"{steps.name}.*delete {steps.name} and run the same command"):
        finished()
    steps.unlink()
    assert finished().num_run == 1
    assert steps.exists()


def test_leftover_of_a_killed_step_write_is_removed(finished: ToyRun) -> None:
    leftover = finished.run_dir / "steps" / ".policy-adaptive-toy-t00-i000-s0-official.tmp.parquet"
    leftover.write_bytes(b"PAR1 and no more")
    assert finished().num_run == 0
    assert not leftover.exists()


def test_steps_are_on_the_disk_before_the_row(toy_run: ToyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    append_row = RunStore._append_row

    def spy(self: RunStore, record) -> None:
        seen.append((self.steps(record.key).num_rows, record.num_steps))
        append_row(self, record)

    monkeypatch.setattr(RunStore, "_append_row", spy)
    toy_run()
    assert len(seen) == 8
    assert all(rows == num_steps for rows, num_steps in seen)


def test_other_configuration_is_refused_by_key(finished: ToyRun) -> None:
    config = {**finished.run.config, "seed": 7, "model": {"name": "chunks", "dtype": "bfloat16"}}
    finished.run = replace(finished.run, config=config)
    with pytest.raises(ValueError, match="another configuration") as error:
        finished()
    message = str(error.value)
    assert "seed: 0 != 7" in message
    assert "model.dtype: '<absent>' != 'bfloat16'" in message
    assert "suite" not in message
    assert "another run_id" in message


@pytest.mark.parametrize(
    "change",
    [
        {"assets": {"source": "folder", "digest": "1" * 16, "render": "reference", "detail": ""}},
        {"versions": {"machine": "another machine"}},
        {"weights": "trained"},
    ],
)
def test_what_is_not_in_the_config_is_compared_too(finished: ToyRun, change: dict[str, object]) -> None:
    finished.run = replace(finished.run, **change)
    with pytest.raises(ValueError, match=next(iter(change))):
        finished()


def test_keys_that_change_nothing_may_differ(finished: ToyRun) -> None:
    config = {**finished.run.config, "runner": {"max_errors": 99, "video": "all"}, "logger": {"name": "wandb"}}
    finished.run = replace(finished.run, config=config)
    assert finished().num_found == 8


def test_unknown_schema_version_of_a_run_is_refused(finished: ToyRun) -> None:
    path = finished.run_dir / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 2}))
    with pytest.raises(ValueError, match="expected schema_version 1, got 2"):
        finished()


def test_truncated_run_file_is_refused(finished: ToyRun) -> None:
    _cut(finished.run_dir / "run.json", 30)
    with pytest.raises(ValueError, match=r"run\.json: expected a run record"):
        finished()


def test_second_store_in_one_process_is_refused_and_close_frees_it(tmp_path: Path) -> None:
    run = make_run()
    with RunStore(tmp_path, run), pytest.raises(RuntimeError, match="being written by process"):
        RunStore(tmp_path, run)
    RunStore(tmp_path, run).close()


def test_failed_open_frees_the_lock(tmp_path: Path) -> None:
    RunStore(tmp_path, make_run()).close()
    with pytest.raises(ValueError, match="another configuration"):
        RunStore(tmp_path, make_run(seed=1))
    RunStore(tmp_path, make_run()).close()


def test_run_record_survives_and_learns_the_trace_layout(finished: ToyRun) -> None:
    stored = read_run(finished.run_dir)
    assert stored == replace(finished.run, views=["agentview", "wrist"], grid=[4, 4], num_layers=6)
    with RunStore(finished.run_dir, finished.run) as store, pytest.raises(RuntimeError, match="trace layout"):
        store.set_trace_layout(("agentview",), (4, 4), 6)
    assert (finished.run_dir / "config.yaml").read_text() == "seed: 0\n"
