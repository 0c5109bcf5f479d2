"""Stages are exclusive and add up."""

from __future__ import annotations

import time

import pytest
import torch

from vlacache.core.timing import StageTimer
from vlacache.types import STAGES


@pytest.fixture
def timer() -> StageTimer:
    return StageTimer(torch.device("cpu"))


def test_nested_stage_pauses_the_outer_one_and_the_sum_is_the_total(timer: StageTimer) -> None:
    timer.start()
    with timer.stage("prefill"):
        time.sleep(0.01)
        with timer.stage("decide"):
            time.sleep(0.02)
        time.sleep(0.01)
    with timer.stage("action_head"):
        time.sleep(0.005)
    times = timer.finish()
    assert sum(times[s] for s in STAGES) == pytest.approx(times["total"], abs=1e-6)
    assert 19 < times["decide"] < 40 and 19 < times["prefill"] < 40 and times["action_head"] > 4.5
    assert times["vision"] == 0.0


def test_time_between_stages_is_not_lost(timer: StageTimer) -> None:
    timer.start()
    with timer.stage("vision"):
        pass
    time.sleep(0.01)
    with timer.stage("prefill"):
        pass
    time.sleep(0.01)
    times = timer.finish()
    assert times["prefill"] > 19  # the gap before it, and the rest behind it
    assert sum(times[s] for s in STAGES) == pytest.approx(times["total"], abs=1e-6)


def test_a_second_call_starts_from_zero(timer: StageTimer) -> None:
    for _ in range(2):
        timer.start()
        with timer.stage("vision"):
            time.sleep(0.005)
        times = timer.finish()
    assert times["total"] < 9


def test_misuse(timer: StageTimer) -> None:
    with pytest.raises(ValueError, match="expected one of"), timer.stage("visoin"):
        pass
    with pytest.raises(RuntimeError, match="still open"), timer.stage("vision"):
        timer.start()


def test_a_stage_that_raises_is_left(timer: StageTimer) -> None:
    timer.start()
    with pytest.raises(KeyError), timer.stage("vision"):
        raise KeyError
    timer.start()
