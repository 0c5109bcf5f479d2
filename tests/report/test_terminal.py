"""The terminal table: one golden picture in text, its width, and verdicts that never claim more than was measured."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runners.report import build_summary, format_table, load_run, print_report, write_report
from runners.report.non_inferiority import MARGINS, PairEnd, summarize_non_inferiority
from runners.report.terminal import print_summary
from runners.report.verdicts import write_verdicts

WriteRun = Callable[..., Path]
GOLDEN = Path(__file__).parent / "golden" / "terminal_table.txt"


def _summary(run: Path) -> dict[str, Any]:
    return build_summary(load_run(run))


def test_table_matches_the_golden_one(write_run: WriteRun) -> None:
    """Set VLACACHE_UPDATE_GOLDEN=1 to write it anew, then look at it."""
    text = format_table(_summary(write_run(num_tasks=2, num_inits=5, errors=frozenset({("policy", 1, 2)}))))
    if os.environ.get("VLACACHE_UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("cache", ["adaptive", "official", "fixed_ratio", "static_task", "none"])
def test_table_fits_100_columns_and_is_plain(write_run: WriteRun, cache: str) -> None:
    assets = {"source": "shared-pack", "digest": "0123456789abcdef", "render": "reference", "detail": "a long name"}
    run = write_run(
        cache=cache, model="openvla_oft", weights="trained", device="cuda:0", clock="cuda_event", assets=assets
    )
    text = format_table(_summary(run))
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text
    assert "…" not in text  # nothing was cut off
    assert "openvla_oft, trained weights" in text
    assert "shared-pack@01234567/reference · cuda:0 (CUDA events)" in text


def test_one_arm_has_one_column_and_claims_nothing(write_run: WriteRun) -> None:
    run = write_run(cache="none", arms=("baseline",), weights="none", model="expert", num_warmup=0)
    text = format_table(write_report(run))
    markdown = (run / "report.md").read_text()
    assert text.splitlines()[4].split() == ["expert"]
    for words in ("same arm", "speed-up", "fallback", "reuse ratio", "action_head", "MAC", "warm-up left out"):
        assert words not in text
        assert words not in markdown.split("## Definitions")[0]
    assert not (run / "plots" / "latency_stages.png").exists()


def test_title_says_what_is_not_trained(write_run: WriteRun) -> None:
    title = format_table(_summary(write_run())).splitlines()[1]
    assert title == " libero_spatial, official placement · tiny_oft, UNTRAINED weights · cache adaptive · 8 pairs"


def test_narrow_terminal_wraps_without_losing_figures(write_run: WriteRun) -> None:
    text = format_table(_summary(write_run()), width=84)
    assert max(map(len, text.splitlines())) <= 84


def test_output_that_cannot_write_unicode_gets_ascii(write_run: WriteRun) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    print_summary(_summary(write_run()), stream)
    stream.flush()
    assert "tiny_oft, UNTRAINED weights | cache adaptive" in stream.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]


def test_print_report_reads_the_written_summary(write_run: WriteRun) -> None:
    run = write_run()
    with pytest.raises(FileNotFoundError, match=r"summary\.json: missing; write the report first"):
        print_report(run)
    summary = write_report(run)
    stream = io.StringIO()
    print_report(run, stream)
    assert stream.getvalue() == format_table(summary)


def _verdict_input(**changes: Any) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "suite": "libero_spatial",
        "model": "tiny_oft",
        "weights": "trained",
        "trained_on": ["libero_spatial"],
        "mirrored": False,
        "device": "cpu",
        "num_episodes": 50,
        "num_errors": 0,
        "num_errors_retried": 0,
        "num_pairs_dropped_error": 0,
        "num_reused_baseline": 0,
        "num_differing_baseline": 0,
        "reused_from": [],
        "success_rate": {
            "policy": 0.8,
            "baseline": 0.9,
            "difference": -0.1,
            "mcnemar_p": 0.2,
            "difference_ci95": [-0.2, 0.02],
        },
        "success_rate_errors_as_failures": {"policy": 0.8, "baseline": 0.9},
        "speedup": {"num_pairs": 50, "end_to_end": 1.3, "end_to_end_ci95": [1.2, 1.4]},
        "reuse_ratio": 0.4,
        "non_inferiority": summarize_non_inferiority(_ends(36, 4, 9, 1), MARGINS),
        "stage_sum": {"policy": {"ok": True}, "baseline": {"ok": True}},
    }
    return {**summary, **changes}


def _ends(both: int, only_policy: int, only_baseline: int, neither: int) -> list[PairEnd]:
    return ["both"] * both + ["only_policy"] * only_policy + ["only_baseline"] * only_baseline + ["neither"] * neither


def test_verdict_never_calls_a_missing_difference_equality() -> None:
    text = " ".join(write_verdicts(_verdict_input()))
    assert "No difference in success shown over 50 pairs" in text
    assert "not proof of equality: 95 % interval [-20.0, +2.0] points" in text


def test_non_inferiority_is_one_sentence_with_its_figures() -> None:
    few = " ".join(write_verdicts(_verdict_input()))
    assert "Non-inferior to no cache at 5 points: not yet (50 of 200 planned pairs); at 2 points: not yet" in few
    many = _verdict_input(num_episodes=200, non_inferiority=summarize_non_inferiority(_ends(190, 3, 2, 5), MARGINS))
    assert (
        "Non-inferior to no cache at 5 points: yes; at 2 points: not yet (200 of 800 planned pairs). One-sided 95 % "
        "lower limit of the difference -1.7 pts over 200 pairs, reuse ratio 40.0 %, speed-up 1.30x."
    ) in write_verdicts(many)


def test_non_inferiority_says_on_which_pairs_it_rests() -> None:
    found = summarize_non_inferiority(_ends(250, 0, 0, 0), MARGINS, available=500)
    (told,) = (
        line for line in write_verdicts(_verdict_input(num_episodes=250, non_inferiority=found)) if "Non-" in line
    )
    assert "at 5 points: yes (first 200 pairs); at 2 points: n/a (this suite has 500 pairs). One-sided" in told
    assert "over 250 pairs" in told


def test_non_inferiority_says_nothing_where_nothing_can_be_lost() -> None:
    rare = summarize_non_inferiority(_ends(1, 0, 0, 199), MARGINS)
    assert "at 5 points: n/a (no cache succeeds in no more)" in " ".join(
        write_verdicts(_verdict_input(non_inferiority=rare))
    )
    success = {**_verdict_input()["success_rate"], "policy": 0.0, "baseline": 0.0, "difference": 0.0, "mcnemar_p": 1.0}
    assert "on-inferior" not in " ".join(write_verdicts(_verdict_input(success_rate=success)))
    assert "on-inferior" not in " ".join(write_verdicts(_verdict_input(mirrored=True, non_inferiority=None)))


def test_verdict_names_a_significant_loss() -> None:
    success = {**_verdict_input()["success_rate"], "mcnemar_p": 0.01, "difference_ci95": [-0.2, -0.02]}
    assert write_verdicts(_verdict_input(success_rate=success))[0].startswith(
        "Success is lower with the cache: -10.0 pts"
    )


@given(low=st.floats(0.2, 3.0), high=st.floats(0.2, 3.0))
def test_speed_is_claimed_only_outside_the_interval(low: float, high: float) -> None:
    low, high = sorted((low, high))
    speedup = {"num_pairs": 50, "end_to_end": (low + high) / 2, "end_to_end_ci95": [low, high]}
    text = " ".join(write_verdicts(_verdict_input(speedup=speedup)))
    assert ("faster" in text) == (low > 1.0)
    assert ("SLOWER" in text) == (high < 1.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": "untrained"}, "Untrained weights: success says nothing about the cache"),
        ({"weights": "none"}, "says nothing about any model"),
        ({"suite": "libero_goal"}, "weights of tiny_oft were made for libero_spatial, this run is libero_goal"),
        ({"num_episodes": 0}, "No scored pair: no rate and no comparison"),
        ({"mirrored": True}, "nothing is compared"),
        ({"speedup": {"num_pairs": 3, "end_to_end": 1.3, "end_to_end_ci95": None}}, "too few pairs for an interval"),
        ({"speedup": {"num_pairs": 0, "end_to_end": None, "end_to_end_ci95": None}}, "No speed-up: no pair was timed"),
        ({"num_errors_retried": 1}, "1 error tried again"),
        ({"num_differing_baseline": 2}, "the baseline is not deterministic"),
        (
            {"num_reused_baseline": 4, "reused_from": ["first"]},
            "4 baseline episodes copied from first: they count for success, not for latency",
        ),
        (
            {"stage_sum": {"policy": {"ok": False, "relative_gap": 0.031}, "baseline": {"ok": True}}},
            "Stage times do not add up to the total within 2 % (policy 3.1 % apart)",
        ),
    ],
)
def test_each_caveat_is_said(changes: dict[str, Any], words: str) -> None:
    assert words in " ".join(write_verdicts(_verdict_input(**changes)))


def test_no_success_at_all_is_no_comparison() -> None:
    success = {**_verdict_input()["success_rate"], "policy": 0.0, "baseline": 0.0, "difference": 0.0, "mcnemar_p": 1.0}
    assert "success cannot be compared" in write_verdicts(_verdict_input(success_rate=success))[0]
