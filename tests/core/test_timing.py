"""Stages are exclusive and add up: on a clock that the test turns itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from vlacache.core.timing import StageTimer
from vlacache.core.transfer import HostCopy
from vlacache.types import STAGES


class Clock:
    """Nanoseconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def wait(self, ms: int) -> None:
        self.now += ms * 1_000_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timer(clock: Clock) -> StageTimer:
    return StageTimer(torch.device("cpu"), clock)


def test_nested_stage_pauses_the_outer_one_and_the_sum_is_the_total(timer: StageTimer, clock: Clock) -> None:
    timer.start()
    with timer.stage("prefill"):
        clock.wait(10)
        with timer.stage("decide"):
            clock.wait(20)
        clock.wait(11)
    with timer.stage("action_head"):
        clock.wait(5)
    times = timer.finish()
    assert (times["prefill"], times["decide"], times["action_head"], times["vision"]) == (21, 20, 5, 0)
    assert sum(times[s] for s in STAGES) == times["total"] == 46


def test_time_between_stages_is_not_lost(timer: StageTimer, clock: Clock) -> None:
    timer.start()
    with timer.stage("vision"):
        clock.wait(1)
    clock.wait(10)
    with timer.stage("prefill"):
        clock.wait(2)
    clock.wait(30)
    times = timer.finish()
    assert (times["vision"], times["prefill"], times["total"]) == (1, 42, 43)  # the gap before it and the rest behind


def test_a_second_call_starts_from_zero(timer: StageTimer, clock: Clock) -> None:
    for _ in range(2):
        timer.start()
        with timer.stage("vision"):
            clock.wait(5)
        times = timer.finish()
        clock.wait(100)
    assert times["total"] == 5


def test_the_real_clock_moves() -> None:
    timer = StageTimer(torch.device("cpu"))
    timer.start()
    with timer.stage("vision"):
        torch.randn(200, 200) @ torch.randn(200, 200)
    assert timer.finish()["vision"] > 0


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


def test_marks_are_recorded_on_the_stream_of_the_chosen_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """``cuda:1`` while another device is current: an event of the wrong stream would time nothing."""
    recorded: list[object] = []

    class Event:
        def __init__(self, enable_timing: bool = False) -> None:
            pass

        def record(self, stream: object = "of the current device") -> None:
            recorded.append(stream)

        def elapsed_time(self, other: Event) -> float:
            return 1.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: f"stream of {device}")
    timer = StageTimer(torch.device("cuda:1"))
    timer.start()
    with timer.stage("vision"):
        pass
    timer.finish()
    assert recorded == ["stream of cuda:1"] * 4


def test_a_copy_waits_on_the_stream_of_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[object] = []

    class Event:
        def record(self, stream: object = "of the current device") -> None:
            recorded.append(stream)

    class Host:
        def copy_(self, source: object, non_blocking: bool) -> None:
            assert non_blocking

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: f"stream of {device}")
    monkeypatch.setattr(torch, "empty", lambda *args, **kwargs: Host())
    HostCopy(SimpleNamespace(device=torch.device("cuda:1"), shape=(2,), dtype=torch.int64))  # type: ignore[arg-type]
    assert recorded == ["stream of cuda:1"]
