"""What ``logger=wandb`` writes offline, read back from its files."""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runners.envs.toy import FaultyEnv, make_toy_env
from runners.observers import Observer
from runners.report import build_summary, load_run
from tests.runner.helpers import ToyRun, make_run, rows

wandb = pytest.importorskip("wandb")

from runners.wandb_logger import WandbLogger  # noqa: E402 - after the skip

BLOCK, HEADER = 32768, 7


def read_records(path: Path) -> Iterator[Any]:
    """Records of a ``.wandb`` file: the LevelDB log format (blocks of chunks with CRC, length, type) after 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data = path.read_bytes()
    if len(data) < HEADER:
        return  # not begun
    assert data[:4] == b":W&B"
    position, parts = HEADER, b""
    while position + HEADER <= len(data):
        if BLOCK - position % BLOCK < HEADER:
            position += BLOCK - position % BLOCK
            continue
        checksum, length, kind = struct.unpack_from("<IHB", data, position)
        chunk = data[position + HEADER : position + HEADER + length]
        if zlib.crc32(bytes([kind]) + chunk) != checksum:
            return  # still being written
        parts += chunk
        if kind in (1, 4):  # full, last
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""
        position += HEADER + length


def read_closed(path: Path) -> list[Any]:
    """Records of a finished run; W&B's own process writes the last of them shortly after ``finish`` has returned."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        records = list(read_records(path))
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        time.sleep(0.02)
    pytest.fail(f"{path.name}: no exit record; the run was not finished")


def _items(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


class Written:
    """Config, history rows, last summary and tables of one offline run."""

    def __init__(self, run_dir: Path) -> None:
        (folder,) = (run_dir / "wandb").glob("offline-run-*")
        (file,) = folder.glob("*.wandb")
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        for record in read_closed(file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.config.update(_items(record.run.config.update))
            elif kind == "config":
                self.config.update(_items(record.config.update))
            elif kind == "history":
                self.history.append(_items(record.history.item))
            elif kind == "summary":
                self.summary.update(_items(record.summary.update))
        tables = (folder / "files" / "media" / "table").glob("*.table.json")
        self.tables = {path.name.rsplit("_", 2)[0]: json.loads(path.read_text()) for path in tables}

    def rows(self, table: str) -> list[dict[str, Any]]:
        content = self.tables[table]
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[ToyRun, Written]:
    run = ToyRun(tmp_path_factory.mktemp("wandb") / "demo", observers=[WandbLogger()])
    run()
    return run, Written(run.run_dir)


def test_config_is_the_resolved_config_and_the_record(logged: tuple[ToyRun, Written]) -> None:
    run, written = logged
    assert written.config["seed"] == 0
    assert written.config["suite"] == run.run.config["suite"]
    assert written.config["record"]["weights"] == "untrained"
    assert written.config["record"]["versions"] == {"machine": "test machine"}


def test_a_row_per_episode(logged: tuple[ToyRun, Written]) -> None:
    run, written = logged
    episodes = load_run(run.run_dir).episodes
    rows = written.rows("episodes")
    assert [(r["arm"], r["task_id"], r["init_index"], r["status"], r["num_steps"]) for r in rows] == list(
        episodes[["arm", "task_id", "init_index", "status", "num_steps"]].itertuples(index=False, name=None)
    )
    assert {r["assets"] for r in rows} == {"none"}
    steps = [h for h in written.history if "policy/num_steps" in h or "baseline/num_steps" in h]
    assert len(steps) == len(rows) == 8
    policy = [h for h in written.history if "policy/success" in h]
    assert [h["policy/success"] for h in policy] == [0.0] * 4
    assert [h["policy/reuse_ratio_mean"] for h in policy] == pytest.approx([0.45] * 4), "nine calls of ten at 0.5"


def test_an_error_is_neither_success_nor_failure(tmp_path: Path) -> None:
    run = ToyRun(tmp_path / "demo", observers=[WandbLogger()], task_ids=(0,))
    faults = iter([1])  # only the first env that is built has one
    run.make_env = lambda task_id: FaultyEnv(make_toy_env(task_id), raise_at_step=3, num_faults=next(faults, 0))
    run()
    errors = {(r.arm, r.init_index) for r in rows(run) if r.status == "error"}
    assert len(errors) == 1
    history = [h for h in Written(run.run_dir).history if any(name.endswith("/num_steps") for name in h)]
    assert len(history) == 4
    for item in history:
        arm = "policy" if "policy/num_steps" in item else "baseline"
        is_error = (arm, item[f"{arm}/init_index"]) in errors
        assert item[f"{arm}/error"] == float(is_error)
        assert (f"{arm}/success" in item) == (not is_error)


def test_ledger_holds_every_call(logged: tuple[ToyRun, Written]) -> None:
    run, written = logged
    steps = load_run(run.run_dir).steps
    calls = steps[steps["policy_call"]]
    rows = written.rows("latency_ledger")
    assert len(rows) == len(calls) > 40
    assert [r["total_ms"] for r in rows] == pytest.approx(calls["total_ms"].tolist())
    policy = [r for r in rows if r["arm"] == "policy"]
    assert [r["call_index"] for r in policy] == list(range(10)) * 4
    assert [r["fallback"] for r in policy[:2]] == ["cold", None]


def test_summary_is_the_report(logged: tuple[ToyRun, Written]) -> None:
    run, written = logged
    expected = build_summary(load_run(run.run_dir))
    assert written.summary["success_rate.baseline"] == expected["success_rate"]["baseline"] == 1.0
    assert written.summary["success_rate.policy"] == 0.0
    assert written.summary["latency_ms.policy.p50"] == pytest.approx(expected["latency_ms"]["policy"]["p50"])
    assert written.summary["num_episodes"] == 4


def test_copied_baselines_are_rows_but_not_in_the_ledger(tmp_path: Path) -> None:
    first = ToyRun(tmp_path / "a", run=make_run("a"))
    first()
    settings = replace(first.settings, shared_baseline=first.run_dir, cache="paper")
    second = ToyRun(tmp_path / "b", run=make_run("b", "paper"), settings=settings, observers=[WandbLogger()])
    second()
    written = Written(second.run_dir)
    copied = {(r["task_id"], r["init_index"]) for r in written.rows("episodes") if r["reused_from"] == "a"}
    assert copied == {(0, 1), (1, 1)}
    timed = {(r["task_id"], r["init_index"]) for r in written.rows("latency_ledger") if r["arm"] == "baseline"}
    assert timed == {(0, 0), (1, 0)}


@pytest.mark.parametrize("broken", ["init", "log"])
def test_run_survives_a_failing_wandb(
    toy_run: ToyRun, broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no route to W&B")

    class BrokenRun:
        log = fail
        finish = fail

    monkeypatch.setattr(wandb, "init", fail if broken == "init" else lambda **_: BrokenRun())
    listener = Observer()
    toy_run.observers = (WandbLogger(), listener)
    assert toy_run().num_missing == 0
    assert caplog.text.count("WandbLogger failed and is switched off") == 1
