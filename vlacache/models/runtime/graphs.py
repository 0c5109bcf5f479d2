"""Pieces of work that are captured once and replayed with one launch."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Any, Protocol
from weakref import WeakSet

import torch

logger = logging.getLogger(__name__)

#: Works on buffers at fixed addresses: same shapes, same addresses, same launches, every time.
Work = Callable[[], None]


class Recorder(Protocol):
    """Turns work into something that repeats it.

    Attributes:
        scratch_bytes: the most device memory that any recorded work needs beside its buffers while it is repeated.
    """

    scratch_bytes: int

    def record(self, work: Work) -> Work:
        """What repeats ``work``. Recording itself must leave no trace in its buffers."""
        ...


class CallAgain:
    """No capture: the work itself. The static path on a CPU, where it is tested."""

    scratch_bytes = 0

    def record(self, work: Work) -> Work:
        """``work``."""
        return work


#: Graphs that exist, by device index. Whoever drops a graph takes it out of here too.
_living_graphs: defaultdict[int, WeakSet[Any]] = defaultdict(WeakSet)


class CudaGraphs:
    """CUDA graphs on one side stream.

    All graphs of a device share one memory pool: they run one after the other and leave their results in buffers
    outside, so they may share their scratch memory. torch gives a pool back with the last graph in it and refuses
    captures that join it afterwards, so a capture joins the pool of a graph that lives, or else begins a new one.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        index = torch.cuda.current_device() if device.index is None else device.index
        self._living = _living_graphs[index]
        self.scratch_bytes = 0
        self._stream = torch.cuda.Stream(device)
        with torch.cuda.stream(self._stream):
            # cuBLAS takes a workspace for each stream; taken during a capture, it would sit in the graphs' pool.
            _ = torch.ones(16, 16, device=device) @ torch.ones(16, 16, device=device)

    def record(self, work: Work) -> Work:
        """Capture; nothing runs. The work must have run once before (libraries allocate on first use)."""
        # Held until the capture has ended: collecting it in between would take the pool away.
        neighbour = next(iter(self._living), None)
        pool = torch.cuda.graph_pool_handle() if neighbour is None else neighbour.pool()
        # Not ``torch.cuda.graph``: it collects garbage and empties the allocator for every one of many small graphs.
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self._device)
        held = torch.cuda.memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        with torch.cuda.stream(self._stream):
            graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                work()
            finally:
                graph.capture_end()
        # Seen now: a replay uses the pool's memory without allocating it.
        self.scratch_bytes = max(self.scratch_bytes, torch.cuda.max_memory_allocated(self._device) - held)
        self._living.add(graph)
        return graph.replay


class GraphStore:
    """Work by key: run as it is the first time, captured after the call, replayed from then on.

    Capture takes as long as an eager pass of the piece, so it waits until the call has been timed.

    Attributes:
        num_graphs: graphs kept. num_refused: pieces that run eagerly for good, because they could not be captured or
            because there are too many.
        is_complete: every piece of the last call was replayed or runs eagerly for good.
        scratch_bytes: memory that replaying needs beside the buffers, which no allocation shows.
    """

    def __init__(self, recorder: Recorder, *, limit: int) -> None:
        self._recorder = recorder
        self._limit = limit
        self._reasons: set[str] = set()
        self.clear()

    def clear(self) -> None:
        """Forget everything; buffers that only graphs knew are freed."""
        #: With the work itself: it holds the buffers whose addresses the graph knows.
        self._captured: dict[Hashable, tuple[Work, Work]] = {}
        self._wanted: dict[Hashable, Work] = {}
        self._refused: set[Hashable] = set()

    @property
    def num_graphs(self) -> int:
        """Graphs kept."""
        return len(self._captured)

    @property
    def num_refused(self) -> int:
        """Pieces without a graph that will never have one."""
        return len(self._refused)

    @property
    def is_complete(self) -> bool:
        """Nothing waits for its capture."""
        return not self._wanted

    @property
    def scratch_bytes(self) -> int:
        """See the class."""
        return self._recorder.scratch_bytes

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
        for key, work in wanted.items():
            if self.num_graphs >= self._limit:
                self._refuse(key, f"{self._limit} graphs are kept, the most allowed")
                continue
            try:
                self._captured[key] = self._recorder.record(work), work
            except RuntimeError as error:
                self._refuse(key, str(error))
        if wanted:
            logger.debug("%d graphs, scratch memory %.0f MiB", self.num_graphs, self.scratch_bytes / 2**20)

    def _refuse(self, key: Hashable, reason: str) -> None:
        """Run it eagerly from now on, and say why where the reason is new."""
        self._refused.add(key)
        if reason not in self._reasons:
            self._reasons.add(reason)
            logger.warning("graph %s was not captured and runs eagerly: %s", key, reason)
