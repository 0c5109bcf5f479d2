"""Every figure of the summary recomputed from the files by other means, and what happens when data is missing."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from scipy.stats import binomtest

from runners.envs.base import AssetProvenance
from runners.report import build_summary, load_run
from runners.report.summary import assets_label
from runners.report.words import suite_words
from tests.report.summaries import ARMS, summary_of
from vlacache.types import STAGES

WriteRun = Callable[..., Path]
EXACT = {"rel": 1e-12, "abs": 1e-12}


class Records:
    """The files of a run read with json and pyarrow alone: what a reader without our code would do."""

    def __init__(self, run: Path) -> None:
        rows = [json.loads(line) for line in (run / "episodes.jsonl").read_text().splitlines()]
        final = {(r["arm"], r["task_id"], r["init_index"]): r for r in rows}
        keys = {(task, init) for _, task, init in final}
        ended = ("success", "failure")
        self.pairs = sorted(
            key for key in keys if all((arm, *key) in final and final[(arm, *key)]["status"] in ended for arm in ARMS)
        )
        self.episodes = {arm: {key: final[(arm, *key)] for key in self.pairs} for arm in ARMS}
        self.steps: dict[str, dict[tuple[int, int], list[dict[str, Any]]]] = defaultdict(dict)
        for arm in ARMS:
            for key, row in self.episodes[arm].items():
                slug = f"{arm}-{row['cache']}-{row['suite']}-t{key[0]:02d}-i{key[1]:03d}-s{row['env_seed']}"
                slug = f"{slug}-{row['placement']}"
                path = run / "steps" / f"{slug}.parquet"
                self.steps[arm][key] = pq.read_table(path).to_pylist() if path.exists() else []

    def calls(self, arm: str, *, timed: bool) -> dict[tuple[int, int], list[dict[str, Any]]]:
        calls = {}
        for key, steps in self.steps[arm].items():
            reused = self.episodes[arm][key]["reused_from"] is not None
            executed = defaultdict(int)
            for step in steps:
                executed[step["call_index"]] += 1
            rows = [{**s, "executed": executed[s["call_index"]]} for s in steps if s["total_ms"] is not None]
            calls[key] = [row for row in rows if not timed or (not row["is_warmup"] and not reused)]
        return calls

    def timed(self, arm: str) -> list[dict[str, Any]]:
        both = [key for key in self.pairs if all(self.calls(a, timed=True)[key] for a in ARMS)]
        own = self.calls(arm, timed=True)
        return [row for key in (both or self.pairs) for row in own[key]]


@pytest.fixture(
    params=[
        {"num_tasks": 3, "num_inits": 4},
        {
            "num_tasks": 2,
            "num_inits": 5,
            "errors": frozenset({("policy", 0, 1), ("baseline", 0, 1), ("baseline", 1, 4)}),
            "reused": frozenset({(0, 2), (1, 0)}),
            "cache": "paper",
            "clock": "cuda_event",
            "num_warmup": 3,
        },
    ],
    ids=["plain", "errors-and-reused-baseline"],
)
def run(request: pytest.FixtureRequest, write_run: WriteRun) -> Path:
    return write_run(**request.param)


def test_success_is_recomputable(run: Path) -> None:
    records, summary = Records(run), summary_of(run)
    wins = {arm: [records.episodes[arm][key]["status"] == "success" for key in records.pairs] for arm in ARMS}
    n = len(records.pairs)
    assert summary["num_episodes"] == n
    success = summary["success_rate"]
    for arm in ARMS:
        assert success[arm] == pytest.approx(sum(wins[arm]) / n, **EXACT)
        wilson = binomtest(sum(wins[arm]), n).proportion_ci(method="wilson")
        assert success[f"{arm}_ci95"] == pytest.approx([wilson.low, wilson.high], **EXACT)
    assert success["difference"] == pytest.approx((sum(wins["policy"]) - sum(wins["baseline"])) / n, **EXACT)
    won = sum(p and not b for p, b in zip(wins["policy"], wins["baseline"], strict=True))
    lost = sum(b and not p for p, b in zip(wins["policy"], wins["baseline"], strict=True))
    p_value = binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert success["mcnemar_p"] == pytest.approx(p_value, **EXACT)
    assert success["difference_ci95"][0] <= success["difference"] <= success["difference_ci95"][1]


def test_latency_is_recomputable(run: Path) -> None:
    records, summary = Records(run), summary_of(run)
    for arm in ARMS:
        calls = records.timed(arm)
        total = [row["total_ms"] for row in calls]
        assert summary["latency_ms"][arm] == pytest.approx(
            {
                "p50": np.percentile(total, 50),
                "p90": np.percentile(total, 90),
                "p99": np.percentile(total, 99),
                "mean": sum(total) / len(total),
            },
            **EXACT,
        )
        for stage in STAGES:
            values = [row[f"{stage}_ms"] for row in calls]
            assert summary["stage_ms"][arm][stage] == pytest.approx(math.fsum(values) / len(values), **EXACT)
            assert summary["stage_latency_ms"][arm][stage]["p90"] == pytest.approx(np.percentile(values, 90), **EXACT)
        actions = sum(row["executed"] for row in calls)
        assert summary["control_hz"][arm] == pytest.approx(actions / (math.fsum(total) / 1e3), **EXACT)
        own = [row for row in records.episodes[arm].values() if row["reused_from"] is None]
        achieved = sum(row["num_steps"] for row in own) / math.fsum(row["wall_s"] for row in own)
        assert summary["achieved_hz"][arm] == pytest.approx(achieved, **EXACT)
        everything = [row for rows in records.calls(arm, timed=False).values() for row in rows]
        assert summary["calls"][arm]["timed"] == len(calls)
        assert summary["calls"][arm]["cold"] == sum(row["call_index"] == 0 for row in calls)
        assert summary["calls"][arm]["warmup_excluded"] == sum(row["is_warmup"] for row in everything)
        assert summary["stage_sum"][arm]["ok"] is True
        cold = [row["total_ms"] for row in calls if row["call_index"] == 0]
        assert summary["cold_latency_ms"][arm]["p50"] == pytest.approx(np.median(cold), **EXACT)


def test_speedup_is_the_ratio_of_the_means_shown(run: Path) -> None:
    records, summary = Records(run), summary_of(run)
    for name, column in (("end_to_end", "total_ms"), ("prefill", "prefill_ms")):
        values = {arm: [row[column] for row in records.timed(arm)] for arm in ARMS}
        means = {arm: math.fsum(values[arm]) / len(values[arm]) for arm in ARMS}
        assert summary["speedup"][name] == pytest.approx(means["baseline"] / means["policy"], **EXACT)
        medians = {arm: np.median(values[arm]) for arm in ARMS}
        expected = medians["baseline"] / medians["policy"]
        assert summary["speedup"][f"{name}_median"] == pytest.approx(expected, **EXACT)
        low, high = summary["speedup"][f"{name}_ci95"]
        assert low < summary["speedup"][name] < high
    latency = summary["latency_ms"]
    for name, column in (("end_to_end", "mean"), ("end_to_end_median", "p50")):
        expected = latency["baseline"][column] / latency["policy"][column]
        assert summary["speedup"][name] == pytest.approx(expected, **EXACT)


def test_headline_speedup_sees_a_minority_of_slow_calls(write_run: WriteRun) -> None:
    """A policy that halves nine calls of ten and makes the tenth very slow is no faster, whatever its median says."""
    frames = load_run(write_run(num_tasks=2, num_inits=3))
    steps = frames.steps
    is_call = steps["policy_call"].astype(bool)
    is_slow = (steps["arm"] == "policy") & (steps["call_index"] % 10 == 0)
    steps.loc[is_call, "total_ms"] = 60.0
    steps.loc[is_call & (steps["arm"] == "policy"), "total_ms"] = 30.0
    steps.loc[is_call & is_slow, "total_ms"] = 900.0
    summary = build_summary(frames)
    assert summary["speedup"]["end_to_end_median"] == 2.0
    assert summary["speedup"]["end_to_end"] < 0.7
    assert summary["speedup"]["end_to_end_ci95"][1] < 1.0
    assert any("SLOWER" in line for line in summary["verdicts"])


def test_cache_figures_are_recomputable(run: Path) -> None:
    records, summary = Records(run), summary_of(run)
    calls = {arm: [row for rows in records.calls(arm, timed=False).values() for row in rows] for arm in ARMS}
    policy = calls["policy"]
    assert summary["reuse_ratio"] == pytest.approx(math.fsum(r["reuse_ratio"] for r in policy) / len(policy), **EXACT)
    used = [r["reuse_ratio"] for r in policy if r["fallback"] is None]
    assert summary["reuse_ratio_when_cached"] == pytest.approx(math.fsum(used) / len(used), **EXACT)
    for arm in ARMS:
        macs = sum(r["macs"] for r in calls[arm]) / len(calls[arm])
        assert summary["macs"][arm] == pytest.approx(macs, **EXACT)
        assert summary["flops"][arm] == pytest.approx(2 * macs, **EXACT)
    reasons = defaultdict(int)
    for row in policy:
        if row["fallback"] is not None:
            reasons[row["fallback"]] += 1
    assert {name: item["calls"] for name, item in summary["fallback"]["by_reason"].items()} == dict(reasons)
    assert summary["fallback"]["share"] == pytest.approx(sum(reasons.values()) / len(policy), **EXACT)
    assert summary["max_age"]["max"] == max(row["max_age"] for row in policy)


def test_tasks_add_up_to_the_suite(run: Path) -> None:
    summary = summary_of(run)
    assert sum(task["num_episodes"] for task in summary["tasks"]) == summary["num_episodes"]
    for arm in ARMS:
        assert sum(t["success_counts"][arm] for t in summary["tasks"]) == summary["success_counts"][arm]


@pytest.mark.parametrize(("source", "label"), [("builtin", "builtin@1a2b3c4d/fast"), ("none", "none")])
def test_assets_label_is_that_of_the_provenance(source: str, label: str) -> None:
    assets = {"source": source, "digest": "1a2b3c4d5e6f7a8b", "render": "fast", "detail": ""}
    assert assets_label(assets) == AssetProvenance(**assets).label == label


def test_pinned_names(run: Path) -> None:
    summary = summary_of(run)
    flat = ["run_id", "suite", "model", "cache", "assets", "device", "num_episodes", "num_errors", "reuse_ratio"]
    assert set(flat) <= set(summary)
    assert set(summary["success_rate"]) >= {"policy", "baseline", "difference", "mcnemar_p"}
    assert set(summary["speedup"]) >= {"end_to_end", "prefill", "end_to_end_median", "prefill_median"}
    for arm in ARMS:
        assert set(summary["latency_ms"][arm]) >= {"p50", "p90", "mean"}
        assert list(summary["stage_ms"][arm]) == list(STAGES)
        assert summary["control_hz"][arm] > 0
        assert summary["macs"][arm] > 0
    assert summary["assets"] == "builtin@1a2b3c4d/fast"


@pytest.mark.parametrize("arm", ["policy", "baseline"])
def test_cache_none_writes_its_arm_into_both_columns(write_run: WriteRun, arm: str) -> None:
    summary = summary_of(write_run(cache="none", arms=(arm,), num_tasks=2, num_inits=3))
    assert summary["mirrored"] is True
    assert summary["num_episodes"] == 6
    for name in ("latency_ms", "stage_ms", "control_hz", "macs", "success_counts"):
        assert summary[name]["policy"] == summary[name]["baseline"]
    success = summary["success_rate"]
    assert success["policy"] == success["baseline"]
    assert (success["difference"], success["mcnemar_p"], success["difference_ci95"]) == (0.0, 1.0, None)
    assert summary["speedup"]["end_to_end"] == 1.0
    assert summary["speedup"]["end_to_end_ci95"] is None
    assert summary["reuse_ratio"] == 0.0


def test_self_pair_is_a_real_comparison(write_run: WriteRun) -> None:
    summary = summary_of(write_run(cache="none", num_tasks=2, num_inits=3))
    assert summary["mirrored"] is False
    assert summary["success_rate"]["difference_ci95"] is not None
    assert summary["latency_ms"]["policy"] != summary["latency_ms"]["baseline"]


def test_scripted_policy_has_no_stage_reuse_or_macs(write_run: WriteRun) -> None:
    frames = load_run(write_run(cache="none", arms=("baseline",), weights="none", model="expert"))
    columns = [f"{stage}_ms" for stage in STAGES] + ["num_prompt_tokens", "macs", "prefill_macs", "peak_memory_bytes"]
    frames.steps[columns] = frames.steps[columns].where(pd.isna(frames.steps[columns]), 0)
    summary = build_summary(frames)
    assert summary["latency_ms"]["policy"]["p50"] > 0
    assert summary["stage_ms"]["policy"] == dict.fromkeys(STAGES)
    assert summary["stage_sum"]["policy"]["ok"] is None
    assert summary["speedup"]["prefill"] is None
    assert (summary["reuse_ratio"], summary["macs"]["policy"], summary["process_peak_memory_bytes"]) == (None,) * 3


def test_stage_times_that_do_not_add_up_are_called_out(write_run: WriteRun) -> None:
    frames = load_run(write_run(num_tasks=1, num_inits=3))
    frames.steps.loc[frames.steps["arm"] == "policy", "total_ms"] *= 1.05
    summary = build_summary(frames)
    assert summary["stage_sum"]["policy"]["ok"] is False
    assert summary["stage_sum"]["policy"]["relative_gap"] == pytest.approx(0.05 / 1.05, rel=1e-9)
    assert summary["stage_sum"]["baseline"]["ok"] is True
    assert any("do not add up" in line for line in summary["verdicts"])


def test_rules_that_are_not_the_suites_own_stand_in_the_title() -> None:
    def words(suite: str, **rules: object) -> str:
        return suite_words({"suite": suite, "placement": None, "episode_rules": rules})

    assert words("simpler_widowx", success_rule="final_step", max_steps=None) == "simpler_widowx"
    assert words("libero_spatial", success_rule="first", max_steps=220) == "libero_spatial"
    assert words("libero_spatial", success_rule="first", max_steps=60) == "libero_spatial, at most 60 steps"
    assert words("simpler_widowx", success_rule="first", max_steps=120) == (
        "simpler_widowx, at most 120 steps, success rule first"
    )
    assert words("libero_goal", success_rule="final_step") == "libero_goal, success rule final_step"


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[2] / "configs/suite").glob("[!_]*.yaml")), ids=str)
def test_the_usual_step_limit_is_the_configs(file: Path) -> None:
    limit = yaml.safe_load(file.read_text()).get("max_steps")
    rules = {"success_rule": None, "max_steps": limit}
    assert suite_words({"suite": file.stem, "placement": None, "episode_rules": rules}) == file.stem
