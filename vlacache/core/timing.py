"""Time per stage of a policy call, exclusive and gap-free, by CUDA events or a synchronised clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from vlacache.types import STAGES, Clock


class StageTimer:
    """Marks the boundaries of stages; a nested stage pauses the one around it.

    Every interval belongs to exactly one stage, so the stages add up to the total. On CUDA the marks are events, so
    nothing waits inside a call; the one synchronisation is in ``finish``. Time outside any stage goes to the stage
    that comes next (or to the last one at the end), so the sum of the stages is the total by construction.
    """

    def __init__(self, device: torch.device, read_clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self.clock: Clock = "cuda_event" if device.type == "cuda" else "cpu"
        self._device = device
        self._read_clock = read_clock
        self._stack: list[str] = []
        self._marks: list[tuple[str | None, Any]] = []

    def start(self) -> None:
        """Begin a call: synchronise, forget earlier marks.

        Raises:
            RuntimeError: a stage of the last call was never left.
        """
        if self._stack:
            raise RuntimeError(f"StageTimer: stage {self._stack[-1]!r} is still open; leave it before the next call")
        if self.clock == "cuda_event":
            torch.cuda.synchronize(self._device)
        self._marks = [(None, self._now())]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Attribute the time inside the block to ``name``.

        Raises:
            ValueError: ``name`` is not in ``STAGES``.
        """
        if name not in STAGES:
            raise ValueError(f"stage: expected one of {STAGES}, got {name!r}")
        self._mark()
        self._stack.append(name)
        try:
            yield
        finally:
            self._mark()
            self._stack.pop()

    def finish(self) -> dict[str, float]:
        """End the call: synchronise and return milliseconds per stage plus ``total``."""
        self._marks.append((None, self._now()))
        if self.clock == "cuda_event":
            torch.cuda.synchronize(self._device)
        times = dict.fromkeys(STAGES, 0.0)
        owners = [owner for owner, _ in self._marks]
        for index in range(1, len(self._marks)):
            owner = owners[index] or next((o for o in owners[index:] if o), None)
            owner = owner or next((o for o in reversed(owners[:index]) if o), STAGES[0])
            times[owner] += self._elapsed(self._marks[index - 1][1], self._marks[index][1])
        times["total"] = self._elapsed(self._marks[0][1], self._marks[-1][1])
        return times

    def _mark(self) -> None:
        self._marks.append((self._stack[-1] if self._stack else None, self._now()))

    def _now(self) -> Any:
        if self.clock == "cpu":
            return self._read_clock()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _elapsed(self, start: Any, stop: Any) -> float:
        return (stop - start) / 1e6 if self.clock == "cpu" else float(start.elapsed_time(stop))
