"""Captured work on a CPU: what is kept, what is refused, which memory pool a capture joins, and the emulator itself."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import weakref
from collections import Counter
from collections.abc import Callable

import pytest
import torch

from tests.models.graph_emulator import EmulatedGraphs
from vlacache.models.runtime import graphs
from vlacache.models.runtime.graphs import CallAgain, CudaGraphs, GraphStore

CPU = torch.device("cpu", 0)


class Allocator:
    """torch.cuda's part in a capture, with the rule of c10's caching allocator.

    A pool counts its graphs; when the last one goes it is given back, and a capture that joins it afterwards is an
    internal error.

    Attributes:
        num_graphs: by pool. given_back: pools whose last graph went.
    """

    def __init__(self) -> None:
        self.num_graphs: Counter[int] = Counter()
        self.given_back: set[int] = set()
        self.num_handles = 0
        self.allocated = self.peak = 100

    def handle(self) -> int:
        self.num_handles += 1
        return self.num_handles

    def leave(self, pool: int) -> None:
        self.num_graphs[pool] -= 1
        if not self.num_graphs[pool]:
            self.given_back.add(pool)

    def allocate(self, size: int) -> None:
        """Take and return memory, as an operation does."""
        self.peak = max(self.peak, self.allocated + size)

    def forget_peak(self, device: object) -> None:
        self.peak = self.allocated


@pytest.fixture
def allocator(monkeypatch: pytest.MonkeyPatch) -> Allocator:
    made = Allocator()

    class Graph:
        def capture_begin(self, pool: int, capture_error_mode: str) -> None:
            if pool in made.given_back:
                raise RuntimeError("it->second->use_count > 0 INTERNAL ASSERT FAILED")
            self._pool = pool
            made.num_graphs[pool] += 1

        def capture_end(self) -> None:
            pass

        def pool(self) -> int:
            return self._pool

        def replay(self) -> None:
            pass

        def __del__(self) -> None:
            if hasattr(self, "_pool"):
                made.leave(self._pool)

    for name, fake in {
        "CUDAGraph": Graph,
        "graph_pool_handle": made.handle,
        "Stream": lambda device: None,
        "stream": lambda stream: contextlib.nullcontext(),
        "synchronize": lambda device: None,
        "memory_allocated": lambda device: made.allocated,
        "max_memory_allocated": lambda device: made.peak,
        "reset_peak_memory_stats": made.forget_peak,
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(graphs, "_living_graphs", type(graphs._living_graphs)(graphs._living_graphs.default_factory))
    return made


def filled(*keys: str) -> GraphStore:
    store = GraphStore(CudaGraphs(CPU), limit=9)
    for key in keys:
        store.run(key, lambda: None)
    store.capture()
    return store


def test_a_policy_built_after_the_last_one_went_is_captured(allocator: Allocator) -> None:
    first = filled("a", "b")
    del first
    gc.collect()
    assert allocator.given_back == {1}
    second = filled("a")
    assert (second.num_graphs, second.num_refused) == (1, 0)


def test_a_cleared_store_is_filled_again(allocator: Allocator) -> None:
    store = filled("a")
    store.clear()
    store.run("b", lambda: None)
    store.capture()
    assert (store.num_graphs, store.num_refused) == (1, 0)


def test_graphs_that_live_share_one_pool(allocator: Allocator) -> None:
    stores = [filled("a", "b") for _ in range(3)]
    assert allocator.num_graphs == {1: 6}
    stores[0].clear()
    stores.append(filled("c"))
    assert allocator.num_graphs == {1: 5} and allocator.num_handles == 1


def test_the_neighbour_lives_until_the_capture_has_ended(allocator: Allocator) -> None:
    """Whatever drops the last other graph meanwhile: the pool stays."""
    first, second = filled("a"), GraphStore(CudaGraphs(CPU), limit=9)
    capturing = []

    def work() -> None:
        if capturing:
            first.clear()
            gc.collect()
            assert not allocator.given_back

    second.run("b", work)
    capturing.append(True)
    second.capture()
    assert second.num_graphs == 1


def test_scratch_memory_is_the_most_that_one_piece_takes(allocator: Allocator) -> None:
    store = GraphStore(CudaGraphs(CPU), limit=9)
    for size in (30, 70, 50):
        store.run(size, lambda size=size: allocator.allocate(size))
    store.capture()
    assert store.scratch_bytes == 70


def test_a_reason_is_said_once_and_every_piece_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    class Refusing:
        scratch_bytes = 0

        def record(self, work):
            raise RuntimeError("operation not permitted when stream is capturing")

    store = GraphStore(Refusing(), limit=9)
    with caplog.at_level(logging.WARNING):
        for key in "abc":
            store.run(key, lambda: None)
        assert not store.is_complete
        store.capture()
    assert (store.num_graphs, store.num_refused) == (0, 3) and caplog.text.count("runs eagerly") == 1
    store.run("a", lambda: None)
    assert store.is_complete, "what runs eagerly for good is not warming up"


def test_the_number_of_graphs_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    store, count = GraphStore(CallAgain(), limit=2), []
    for _ in range(2):
        for key in range(4):
            store.run(key, lambda: count.append(1))
        store.capture()
    assert (store.num_graphs, len(count)) == (2, 8)
    assert caplog.text.count("the most allowed") == 1


def test_a_graph_keeps_the_buffers_that_it_knows_alive() -> None:
    """A capture knows addresses alone; whoever owned them may be gone."""

    class Owner:
        buffer = torch.zeros(3)

    owner = Owner()
    seen_again = weakref.ref(owner)
    store = GraphStore(Forgetful(), limit=9)
    store.run("key", functools.partial(lambda o: None, owner))
    store.capture()
    del owner
    gc.collect()
    assert seen_again() is not None
    store.clear()
    gc.collect()
    assert seen_again() is None


class Forgetful(CallAgain):
    """As a CUDA graph, it keeps nothing of the work."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        return lambda: None


def test_the_emulator_shows_a_stale_replay() -> None:
    """The test bed can fail: work that reads a tensor of the first call repeats the first call's answer."""
    graphs, out = EmulatedGraphs(), torch.zeros(2)
    given = {"x": torch.ones(2)}

    def work() -> None:
        out.copy_(given["x"] * 2)

    replay = graphs.record(work)
    assert out.tolist() == [0.0, 0.0], "a capture must run nothing"
    given["x"] = torch.full((2,), 5.0)
    replay()
    assert out.tolist() == [2.0, 2.0]
    with pytest.raises(RuntimeError, match="not permitted"):
        graphs.record(lambda: print(out.sum().item()))
