"""Pieces of work that are captured once and replayed with one launch."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import torch

logger = logging.getLogger(__name__)

#: Works on buffers at fixed addresses: same shapes, same addresses, same launches, every time.
Work = Callable[[], None]


class Recorder(Protocol):
    """Turns work into something that repeats it."""

    def record(self, work: Work) -> Work:
        """What repeats ``work``. Recording itself must leave no trace in its buffers."""
        ...

    def reserved_bytes(self) -> int:
        """Device memory held by now."""
        ...


class CallAgain:
    """No capture: the work itself. The static path on a CPU, where it is tested."""

    def record(self, work: Work) -> Work:
        """``work``."""
        return work

    def reserved_bytes(self) -> int:
        """0."""
        return 0


@functools.cache
def _graph_pool(device_index: int) -> Any:
    """One memory pool for all graphs of a device.

    Graphs run one after the other and leave their results in buffers outside, so they may share their scratch memory.
    """
    return torch.cuda.graph_pool_handle()


class CudaGraphs:
    """CUDA graphs on one side stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        index = torch.cuda.current_device() if device.index is None else device.index
        self._pool = _graph_pool(index)
        self._stream = torch.cuda.Stream(device)
        with torch.cuda.stream(self._stream):
            # cuBLAS takes a workspace for each stream; taken during a capture, it would sit in the graphs' pool.
            _ = torch.ones(16, 16, device=device) @ torch.ones(16, 16, device=device)

    def record(self, work: Work) -> Work:
        """Capture; nothing runs. The work must have run once before (libraries allocate on first use)."""
        # Not ``torch.cuda.graph``: it collects garbage and empties the allocator for every one of many small graphs.
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self._device)
        with torch.cuda.stream(self._stream):
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                work()
            finally:
                graph.capture_end()
        return graph.replay

    def reserved_bytes(self) -> int:
        """Reserved by the allocator, graphs' pool included."""
        return torch.cuda.memory_reserved(self._device)


class GraphStore:
    """Work by key: run as it is the first time, captured after the call, replayed from then on.

    Capture takes as long as an eager pass of the piece, so it waits until the call has been timed.

    Attributes:
        num_graphs: graphs kept. num_bytes: device memory that capturing them reserved.
    """

    def __init__(self, recorder: Recorder, *, limit: int) -> None:
        self._recorder = recorder
        self._limit = limit
        self._is_full = False
        self.clear()

    def clear(self) -> None:
        """Forget everything; buffers that only graphs knew are freed."""
        #: With the work itself: it holds the buffers whose addresses the graph knows.
        self._captured: dict[Hashable, tuple[Work, Work]] = {}
        self._wanted: dict[Hashable, Work] = {}
        self._refused: set[Hashable] = set()
        self.num_bytes = 0

    @property
    def num_graphs(self) -> int:
        """Graphs kept."""
        return len(self._captured)

    def run(self, key: Hashable, work: Work) -> None:
        """Do the work, by its graph if there is one."""
        captured = self._captured.get(key)
        if captured is not None:
            replay, _ = captured
            replay()
            return
        work()
        if key not in self._refused:
            self._wanted[key] = work

    def capture(self) -> None:
        """Capture what the last call ran without a graph."""
        wanted, self._wanted = self._wanted, {}
        if not wanted:
            return
        before = self._recorder.reserved_bytes()
        for key, work in wanted.items():
            if self.num_graphs >= self._limit:
                self._say_full()
                break
            try:
                self._captured[key] = self._recorder.record(work), work
            except RuntimeError as error:
                self._refused.add(key)
                logger.warning("graph %s was not captured and runs eagerly: %s", key, error)
        self.num_bytes += self._recorder.reserved_bytes() - before
        logger.debug("%d graphs, %.0f MiB reserved for them", self.num_graphs, self.num_bytes / 2**20)

    def _say_full(self) -> None:
        if not self._is_full:
            self._is_full = True
            logger.warning("%d graphs are kept, the most allowed; other shapes run eagerly", self._limit)
