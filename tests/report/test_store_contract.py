"""What ``RunStore`` writes is what ``load_run`` reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from runners.records import EpisodeRecord, RunRecord, StepRecord
from runners.report import load_run, write_report
from runners.store import RunStore
from vlacache.types import InferenceStats

ASSETS = {"source": "builtin", "digest": "1a2b3c4d5e6f7a8b", "render": "fast", "detail": ""}
RUN = RunRecord(
    "demo",
    "libero_spatial",
    "tiny_oft",
    "untrained",
    "adaptive",
    ASSETS,
    "cpu",
    {},
    "0",
    None,
    {},
    "2026-11-21T00:00:00Z",
)


def _record(arm: str, attempt: int = 1, status: str = "success") -> EpisodeRecord:
    cache = "none" if arm == "baseline" else "adaptive"
    return EpisodeRecord(
        run_id="demo",
        arm=arm,  # type: ignore[arg-type]
        cache=cache,
        suite="libero_spatial",
        task_id=3,
        init_index=7,
        env_seed=0,
        placement="official",
        status=status,  # type: ignore[arg-type]
        first_success_step=5,
        num_steps=6,
        num_policy_calls=2,
        reused_from=None,
        error=None,
        assets=ASSETS,
        attempt=attempt,
        wall_s=0.5,
    )


def _steps(total_ms: float) -> list[StepRecord]:
    call = InferenceStats(prefill_ms=total_ms, total_ms=total_ms, num_prompt_tokens=9, reuse_ratio=0.5, macs=7)
    trace = np.array([0, 2, 1, 1], np.uint8).tobytes()
    return [
        StepRecord(i, i // 3, [0.0] * 7, None, i == 5, 9.0, 0.0, *((call, trace, trace, trace) if i % 3 == 0 else ()))
        for i in range(6)
    ]


def test_report_of_a_stored_run(tmp_path: Path) -> None:
    with RunStore(tmp_path / "demo", RUN) as store:
        store.append(_record("baseline"), _steps(40.0))
        store.append(_record("policy", status="error"), _steps(99.0))
        store.append(_record("policy", attempt=2), _steps(20.0))
        store.set_trace_layout(["agentview"], [2, 2], 2)
    frames = load_run(tmp_path / "demo")
    assert frames.episodes["slug"].tolist() == [
        "baseline-none-libero_spatial-t03-i007-s0-official",
        "policy-adaptive-libero_spatial-t03-i007-s0-official",
    ]
    assert frames.steps.groupby("arm")["total_ms"].median().to_dict() == {"baseline": 40.0, "policy": 20.0}
    summary = write_report(tmp_path / "demo")
    assert summary["speedup"]["end_to_end"] == 2.0
    assert summary["control_hz"] == pytest.approx({"policy": 150.0, "baseline": 75.0})
    assert summary["achieved_hz"] == pytest.approx({"policy": 12.0, "baseline": 12.0})
    assert (summary["reuse_ratio"], summary["num_errors"], summary["num_errors_retried"]) == (0.5, 0, 1)
    assert (tmp_path / "demo" / "plots" / "reuse.png").exists()


def test_report_leaves_a_run_that_can_be_continued(tmp_path: Path) -> None:
    """The report's own files do not stop the store from opening the run again."""
    with RunStore(tmp_path / "demo", RUN) as store:
        store.append(_record("baseline"), _steps(40.0))
    write_report(tmp_path / "demo")
    with RunStore(tmp_path / "demo", replace(RUN)) as store:
        store.append(_record("policy"), _steps(20.0))
    assert write_report(tmp_path / "demo")["num_episodes"] == 1


def test_accepted_drafts_show_where_a_run_drafts(tmp_path: Path) -> None:
    """Mean over the calls that had a draft: the first call of an episode has none."""
    for folder, accepted in (("drafting", (None, 4)), ("plain", (None, None))):
        with RunStore(tmp_path / folder, replace(RUN, run_id=folder)) as store:
            for arm, total_ms in (("baseline", 40.0), ("policy", 20.0)):
                steps = _steps(total_ms)
                for index, value in zip((0, 3), accepted, strict=True):
                    call = steps[index].call
                    assert call is not None
                    steps[index] = replace(steps[index], call=replace(call, accepted_tokens=value))
                store.append(replace(_record(arm), run_id=folder), steps)
        summary = write_report(tmp_path / folder)
        expected = 4.0 if folder == "drafting" else None
        assert summary["accepted_tokens"] == {"policy": expected, "baseline": expected}
        text = (tmp_path / folder / "report.md").read_text()
        assert ("| draft tokens accepted (decode steps saved), mean | 4.00 | 4.00 |" in text) == (folder == "drafting")


def test_a_refused_capture_shows_in_the_report(tmp_path: Path) -> None:
    """What was really launched, not what was asked for; a call that met a new shape has no time that counts."""
    with RunStore(tmp_path / "demo", RUN) as store:
        for arm, how in (("baseline", "graphs"), ("policy", "graphs, 3 refused")):
            steps = _steps(20.0)
            for index, warmup, total_ms in ((0, True, 900.0), (3, False, 20.0)):
                call = steps[index].call
                assert call is not None
                call = replace(call, runtime=how if index else "graphs", is_warmup=warmup, total_ms=total_ms)
                steps[index] = replace(steps[index], call=call)
            store.append(_record(arm), steps)
    summary = write_report(tmp_path / "demo")
    assert summary["runtime"] == {"baseline": ["graphs"], "policy": ["graphs, 3 refused"]}
    assert summary["calls"]["policy"]["warmup_excluded"] == 1 and summary["latency_ms"]["policy"]["mean"] == 20.0
    assert "| launched as | graphs | graphs, 3 refused |" in (tmp_path / "demo" / "report.md").read_text()


def test_records_from_before_a_column_still_load(tmp_path: Path) -> None:
    with RunStore(tmp_path / "demo", RUN) as store:
        store.append(_record("baseline"), _steps(40.0))
        store.append(_record("policy"), _steps(20.0))
    for file in (tmp_path / "demo" / "steps").glob("*.parquet"):
        table = pq.read_table(file)
        pq.write_table(table.drop_columns(["accepted_tokens", "runtime"]), file)
    frames = load_run(tmp_path / "demo")
    assert frames.steps["accepted_tokens"].isna().all()
    summary = write_report(tmp_path / "demo")
    assert summary["accepted_tokens"] == {"policy": None, "baseline": None}
    assert summary["runtime"] == {"policy": [], "baseline": []}
