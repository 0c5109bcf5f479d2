"""Wall-clock seconds of a block."""

from __future__ import annotations

import time


class Stopwatch:
    """``with Stopwatch() as watch: ...`` then ``watch.seconds``; also set when the block raises."""

    __slots__ = ("_begun", "seconds")

    def __enter__(self) -> Stopwatch:
        self.seconds = 0.0
        self._begun = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begun
