"""Non-inferior only by the one-sided limit, on exactly the first planned pairs, and where something can be lost."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runners.envs.simpler.selection import select_layouts
from runners.report import build_summary, load_run
from runners.report.non_inferiority import (
    MARGINS,
    Margin,
    PairEnd,
    judge_margin,
    parse_margin,
    summarize_non_inferiority,
)
from runners.report.pairs import pair_episodes
from runners.report.planned import PlannedPairs, order_ends, planned_pairs
from runners.report.stats import PairCounts, paired_difference, paired_difference_interval, paired_difference_limits

FIVE, TWO = MARGINS
Z = 1.6448536269514722  # 95 % quantile of the normal distribution


def counts(lost: int, won: int, total: int, neither: int = 0) -> PairCounts:
    return PairCounts(both=total - lost - won - neither, only_policy=won, only_baseline=lost, neither=neither)


def test_the_margins_are_those_of_the_reference_tables() -> None:
    assert [(margin.loss, margin.pairs, margin.column) for margin in MARGINS] == [
        (0.05, 200, "non_inferior_at_5_points"),
        (0.02, 800, "non_inferior_at_2_points"),
    ]


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 400))
def test_limits_are_one_sided_at_95_percent(lost: int, won: int, rest: int) -> None:
    """Tango's score at the lower limit is the 95 % quantile: recomputed from the score, not from our interval."""
    table = counts(lost, won, lost + won + rest)
    limits, estimate = paired_difference_limits(table), paired_difference(table)
    assert limits is not None and estimate is not None
    assert limits == paired_difference_interval(table, level=0.90)
    wide = paired_difference_interval(table)
    assert wide is not None and wide.low <= limits.low <= estimate <= limits.high <= wide.high
    n, delta = table.total, limits.low
    beta = -won - lost + (2 * n - won + lost) * delta
    root = math.sqrt(max(0.0, beta**2 + 8 * n * lost * delta * (1 - delta)))
    share = (root - beta) / (4 * n)
    score = (won - lost - n * delta) / math.sqrt(n * (2 * share + delta * (1 - delta)))
    assert score == pytest.approx(Z, rel=1e-5)


def test_without_a_discordant_pair_the_limit_is_known() -> None:
    limits = paired_difference_limits(counts(0, 0, 200))
    assert limits is not None and limits.low == pytest.approx(-(Z**2) / (200 + Z**2))


def ends(lost: int, won: int, total: int, neither: int = 0, errors: int = 0) -> list[PairEnd | None]:
    rest = total - lost - won - neither - errors
    both: list[PairEnd | None] = ["both"] * rest
    return [*["only_baseline"] * lost, *["only_policy"] * won, *["neither"] * neither, *["error"] * errors, *both]


@pytest.mark.parametrize(
    ("found", "margin", "verdict"),
    [
        (ends(2, 2, 200), FIVE, ("yes", None)),
        (ends(9, 2, 200), FIVE, ("no", None)),  # -3.5 points, but the limit is below -5
        (ends(0, 0, 199), FIVE, ("not yet", "199 of 200 planned pairs")),  # however good: not before the planned number
        (ends(2, 2, 200), TWO, ("not yet", "200 of 800 planned pairs")),
        (ends(4, 4, 800), TWO, ("yes", None)),
        (ends(60, 0, 100), FIVE, ("no", "100 of 200 planned pairs")),  # already certain
        (ends(1, 0, 1), FIVE, ("not yet", "1 of 200 planned pairs")),  # all lost, but that is one pair
        (ends(10, 0, 10), FIVE, ("no", "10 of 200 planned pairs")),
        (ends(0, 0, 200, neither=200), FIVE, (None, "no cache succeeds in no more")),  # nothing can be lost
        (ends(0, 0, 200, neither=190), FIVE, (None, "no cache succeeds in no more")),
        (ends(0, 0, 200, neither=189), FIVE, ("yes", None)),
        (ends(9, 2, 200) + ends(0, 9, 600), FIVE, ("no", "first 200 pairs")),  # what follows changes nothing
        (ends(2, 2, 200) + ends(600, 0, 600), FIVE, ("yes", "first 200 pairs")),
        (ends(0, 0, 200, errors=3), FIVE, ("yes", "3 of 200 left out for errors")),  # nobody waits for more
        (ends(0, 0, 200, errors=200) + ends(0, 0, 200), FIVE, (None, "no pair")),  # nor do later pairs stand in
        ([None, *ends(0, 0, 300)], FIVE, ("not yet", "199 of 200 planned pairs")),
        ([], FIVE, (None, "no pair")),
    ],
)
def test_verdicts(found: list[PairEnd | None], margin: Margin, verdict: tuple[str | None, str | None]) -> None:
    assert judge_margin(found, margin) == verdict


@pytest.mark.parametrize(
    ("found", "available", "verdict"),
    [
        (ends(0, 0, 200), 500, (None, "this suite has 500 pairs")),
        (ends(0, 0, 500), 500, (None, "this suite has 500 pairs")),
        (ends(80, 0, 200), 500, ("no", "200 of 800 planned pairs")),  # too few to say yes, enough to say no
        (ends(0, 0, 200), 800, ("not yet", "200 of 800 planned pairs")),
        (ends(0, 0, 200), None, ("not yet", "200 of 800 planned pairs")),
    ],
)
def test_nobody_waits_for_pairs_that_do_not_exist(
    found: list[PairEnd | None], available: int | None, verdict: tuple[str | None, str]
) -> None:
    assert judge_margin(found, TWO, available) == verdict


@given(st.integers(0, 30), st.integers(0, 30), st.integers(200, 300), st.floats(0.01, 0.3))
def test_yes_means_that_the_limit_of_the_first_pairs_is_inside(lost: int, won: int, total: int, loss: float) -> None:
    found = ends(lost, won, total)
    first = summarize_non_inferiority(found[:200], [Margin(loss, 200)])
    assert (judge_margin(found, Margin(loss, 200))[0] == "yes") == (first["lower95"] > -loss)


def test_looking_often_says_yes_no_more_often_than_once() -> None:
    """At a true loss of exactly 5 points four looks say yes in no more runs than one does, about 5 %."""
    rng = np.random.default_rng(0)
    kinds = np.array(["both", "only_policy", "only_baseline", "neither"])
    runs = rng.choice(kinds, size=(1000, 800), p=[0.80, 0.05, 0.10, 0.05]).tolist()
    looks = [{judge_margin(run[:stop], FIVE)[0] for stop in (200, 400, 600, 800)} for run in runs]
    assert all(len(seen) == 1 for seen in looks)
    assert np.mean(["yes" in seen for seen in looks]) <= 0.07


def test_a_run_that_grows_keeps_its_verdict(write_run: Callable[..., Path]) -> None:
    """Six of the first 20 pairs are lost: what the next 20 do has no say. The rows lie task by task."""
    lost = {(0, state) for state in range(6)}
    found = {}
    for size in (10, 20):
        suite = {"task_ids": [0, 1], "episodes_per_task": size}
        run = write_run(f"run{size}", success=(1.0, 1.0), num_tasks=2, num_inits=size, config={"suite": suite})
        path = run / "episodes.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            if row["arm"] == "policy" and (row["task_id"], row["init_index"]) in lost:
                row["status"] = "failure"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found[size] = build_summary(load_run(run), [Margin(0.32, 20)])["non_inferiority"]
    assert [found[size]["margins"][0]["verdict"] for size in (10, 20)] == ["no", "no"]
    assert found[20]["lower95"] > -0.32  # judged on all pairs it would have become a yes
    assert [found[size]["margins"][0].get("basis") for size in (10, 20)] == [None, "first 20 pairs"]


def test_an_arm_that_reused_nothing_gets_no_verdict(write_run: Callable[..., Path]) -> None:
    """Its outcomes are those of no cache against no cache, however good they look."""
    for reuse, verdict, basis in ((0.5, "yes", None), (-1.0, None, "it reused nothing")):  # clipped to 0
        run = write_run(f"run{reuse}", success=(1.0, 1.0), num_tasks=2, num_inits=20, reuse=reuse)
        (found,) = build_summary(load_run(run), [Margin(0.1, 40)])["non_inferiority"]["margins"]
        assert (found["verdict"], found["basis"]) == (verdict, basis)


def record(name: str = "libero_spatial", **suite: object) -> dict[str, Any]:
    return {"suite": name, "config": {"suite": {"task_ids": None, "episodes_per_task": 20, **suite}}}


def test_pairs_count_by_place_then_task() -> None:
    few, many = (planned_pairs(record(episodes_per_task=count)).starts for count in (20, 50))
    assert few is not None and many is not None
    assert many[:200] == few and few[:11] == (*((task, 0) for task in range(10)), (0, 1))
    named = planned_pairs(record(task_ids=[3, 0], init_indices=[7, 2], episodes_per_task=None))
    assert named.starts == ((0, 7), (3, 7), (0, 2), (3, 2)) and named.available == 4


def test_the_order_of_a_simpler_suite_is_that_of_its_plan() -> None:
    few, many = (planned_pairs(record("simpler_google_va", episodes_per_task=count)).starts for count in (5, 9))
    assert few is not None and many is not None and many[: len(few)] == few
    assert [state for task, state in many if task == 0] == list(select_layouts("simpler_google_va", 0, None)[:9])


def test_pairs_of_a_suite_are_known_where_its_record_says_enough() -> None:
    assert (planned_pairs(record()).available, planned_pairs(record()).choice) == (500, "this suite")
    assert planned_pairs(record(placement="wide")).available == 10_000
    late = planned_pairs(record(first_state=20, episodes_per_task=2, task_ids=[4, 1]))
    assert (late.starts, late.available) == (((1, 20), (4, 20), (1, 21), (4, 21)), 60)
    assert (planned_pairs(record(first_state=20)).available, planned_pairs(record(first_state=20)).choice) == (
        300,
        "this choice of tasks and states",
    )
    assert planned_pairs(record("toy", first_state=3, episodes_per_task=1)).starts == ((0, 3), (1, 3), (2, 3))
    part = planned_pairs(record(task_ids=[0, 3]))
    assert (part.available, part.choice) == (100, "this choice of tasks and states")
    assert planned_pairs(record("toy", episodes_per_task=4)).available is None
    assert planned_pairs({"suite": "libero_spatial", "config": {}}).starts is None


def test_pairs_that_are_not_run_yet_hold_their_place(write_run: Callable[..., Path]) -> None:
    """Errors end a pair, whatever the other arm did; without a plan the recorded pairs stand by state and task."""
    run = write_run(num_tasks=2, num_inits=2, success=(1.0, 1.0), errors=frozenset({("policy", 1, 0)}))
    pairs = pair_episodes(load_run(run).episodes)
    assert order_ends(pairs, PlannedPairs(None, None, "")) == ["both", "error", "both", "both"]
    planned = planned_pairs(record(task_ids=[0, 1], episodes_per_task=3))
    assert order_ends(pairs, planned) == ["both", "error", "both", "both", None, None]


def test_margins_are_read_from_words() -> None:
    assert parse_margin("5:200") == FIVE
    assert parse_margin("2.5:400") == Margin(0.025, 400)
    assert parse_margin("2.5:400").column == "non_inferior_at_2.5_points"
    assert parse_margin("1:1000").words == "1 point"


@pytest.mark.parametrize("text", ["5", "5:", "five:200", "5:2e2", "0:200", "100:200", "-5:200", "5:0", "nan:9", ""])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^margin: expected"):
        parse_margin(text)
