"""Fixed shapes and captured pieces give the eager result: padding has no influence, and no replay is stale."""

from __future__ import annotations

import functools
import gc
import logging
import re
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.models.graph_emulator import EmulatedGraphs
from tests.models.test_speculative import tiny
from tests.models.twins import loaded, observation, small
from vlacache.core.policies import CACHE_POLICIES, build_cache_policy
from vlacache.models.cogact.twin import write_cogact_twin
from vlacache.models.decoder import RowState
from vlacache.models.factory import LoadedModel, ModelConfig, load_model
from vlacache.models.policy import CachedPolicy
from vlacache.models.runtime import EagerRuntime, StaticRuntime, build_runtime
from vlacache.models.runtime.graphs import CallAgain, GraphStore, Recorder
from vlacache.models.runtime.lanes import Lane
from vlacache.models.runtime.static import aligned_blocks
from vlacache.models.tiny import TINY_OFT
from vlacache.types import ActionChunk, Observation

EAGER_TO_REUSE: dict[str, object] = {"min_saving": 0.0, "max_backoff": 0}
NUMBERS: dict[str, dict[str, object]] = {
    "none": {},
    "adaptive": {"tau": 0.5, "task_top_k": 64, "max_age": 2, **EAGER_TO_REUSE},
    "paper": {"tau": 0.5, **EAGER_TO_REUSE},
    "official": {"tau": 0.5, **EAGER_TO_REUSE},
    "static": {"tau": 0.99, "top_k": 200, **EAGER_TO_REUSE},
    "static_task": {"tau": 0.9, "first_layer": 8, **EAGER_TO_REUSE},
    "fixed_ratio": {"reuse_ratio": 0.6, **EAGER_TO_REUSE},
    "random": {"reuse_ratio": 0.3, "first_layer": 20, **EAGER_TO_REUSE},
}
MOVES = (0, 3, 3, 30, 12, 5)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    folder: Path = tmp_path_factory.mktemp("twins") / "cogact"
    write_cogact_twin(folder)
    config = ModelConfig("cogact", str(folder), dtype="float32", unnorm_key="bridge_orig")
    causal = tiny()
    return {
        "bidirectional": loaded(small(TINY_OFT)),
        "causal": causal,
        "speculative": replace(causal, decode="speculative"),
        "cogact": load_model(config),
    }


def seen(model: LoadedModel, step: int, instruction: str = "pick up the bowl") -> Observation:
    """The same pictures for every model, under its own camera names."""
    picture = observation(step, size=56, instruction=instruction, moved=MOVES[step])
    images = dict(zip(model.info.views, picture.images.values(), strict=False))
    return replace(picture, images=images)


def make_arm(model: LoadedModel, cache: str, recorder: Recorder | None, row_bucket: int = 8) -> CachedPolicy:
    """``recorder`` None: the eager reference."""
    arm = CachedPolicy(model, build_cache_policy(cache, NUMBERS[cache]))
    if recorder is not None:
        use_static(arm, recorder, row_bucket)
    arm.reset(0)
    return arm


def use_static(arm: CachedPolicy, recorder: Recorder, row_bucket: int) -> StaticRuntime:
    runtime = StaticRuntime(arm.loaded.model, recorder, row_bucket=row_bucket)
    arm.runtime, arm._decoder._step = runtime, runtime.decode_token
    return runtime


def check_equal(ours: CachedPolicy, eager: CachedPolicy, found: ActionChunk, expected: ActionChunk) -> None:
    assert np.allclose(found.actions, expected.actions, rtol=0, atol=1e-5)
    assert found.trace is not None and expected.trace is not None
    assert np.array_equal(found.trace.reused_layers, expected.trace.reused_layers)
    assert found.stats.macs == expected.stats.macs, "padding was counted as work"
    assert found.stats.accepted_tokens == expected.stats.accepted_tokens
    a, b = ours.session, eager.session
    used = b.kv.capacity
    assert a.kv.capacity == used + 1
    # Slots after the prompt hold drafts; those of rejected ones that were not fed back may differ.
    n = expected.stats.num_prompt_tokens
    assert torch.allclose(a.kv.k[:, :, :n], b.kv.k[:, :, :n], atol=2e-5)
    assert torch.allclose(a.kv.v[:, :, :n], b.kv.v[:, :, :n], atol=2e-5)
    for left, right in ((a.entropies, b.entropies), (a._scores, b._scores)):
        assert (left is None) == (right is None)
        assert left is None or right is None or torch.allclose(left, right, atol=1e-5)


@pytest.mark.parametrize("row_bucket", [1, 8, 32])
@pytest.mark.parametrize("cache", sorted(CACHE_POLICIES))
@pytest.mark.parametrize("name", ["bidirectional", "causal", "speculative", "cogact"])
def test_an_episode_equals_the_eager_one(models, name: str, cache: str, row_bucket: int) -> None:
    """Two episodes through emulated graphs: pieces run as they are, are captured, and are replayed with other rows."""
    graphs = EmulatedGraphs()
    ours, eager = make_arm(models[name], cache, graphs, row_bucket), make_arm(models[name], cache, None)
    for _ in range(2):
        ours.reset(0), eager.reset(0)
        for step in range(len(MOVES)):
            now = seen(models[name], step)
            check_equal(ours, eager, ours.infer(now), eager.infer(now))
    assert graphs.num_replays > 20


@pytest.mark.parametrize("name", ["bidirectional", "speculative"])
def test_bfloat16_runs_and_stays_close(name: str) -> None:
    model = tiny() if name == "speculative" else loaded(small(TINY_OFT))
    model.model.to(torch.bfloat16)
    model = replace(model, decode="speculative" if name == "speculative" else "plain")
    ours, eager = make_arm(model, "fixed_ratio", EmulatedGraphs()), make_arm(model, "fixed_ratio", None)
    for step in range(4):
        a, b = ours.infer(seen(model, step)), eager.infer(seen(model, step))
        assert np.isfinite(a.actions).all()
        assert name == "speculative" or np.abs(a.actions - b.actions).max() < 0.02


def test_prompts_of_different_length_share_memory_and_keep_their_graphs(models) -> None:
    for name in ("bidirectional", "speculative"):
        graphs = EmulatedGraphs()
        ours, eager = make_arm(models[name], "adaptive", graphs), make_arm(models[name], "adaptive", None)
        addresses = set()
        for text in ("pick up the bowl", "open the drawer and put the red mug in", "pick up the bowl"):
            for step in range(4):
                now = seen(models[name], step, text)
                check_equal(ours, eager, ours.infer(now), eager.infer(now))
                addresses.add(ours.session.kv.k.data_ptr())
        assert len(addresses) == 1
        num_graphs = ours.runtime.graphs.num_graphs  # type: ignore[attr-defined]
        ours.reset(0)
        ours.infer(seen(models[name], 0))
        assert ours.runtime.graphs.num_graphs == num_graphs, "a known prompt was captured again"  # type: ignore[attr-defined]


def test_a_prompt_too_long_for_the_memory_starts_over(models) -> None:
    ours, eager = (make_arm(models["causal"], "fixed_ratio", g) for g in (EmulatedGraphs(), None))
    for text in ("pick up the bowl", "put " + "the red mug on " * 30, "pick up the bowl"):
        for step in range(3):
            now = seen(models["causal"], step, text)
            check_equal(ours, eager, ours.infer(now), eager.infer(now))


def test_a_call_that_was_captured_launches_nothing_else(models) -> None:
    """The same frames again: no piece runs as it is."""
    ours = make_arm(models["bidirectional"], "adaptive", EmulatedGraphs())
    store = ours.runtime.graphs  # type: ignore[attr-defined]
    for _ in range(2):
        ours.reset(0)
        for step in range(len(MOVES)):
            ours.infer(seen(models["bidirectional"], step))
    known = store.num_graphs
    ran: list[object] = []
    original: Callable[..., None] = store.run

    def run(key, work):
        original(key, lambda: ran.append(key))

    store.run = run
    ours.reset(0)
    for step in range(len(MOVES)):
        stats = ours.infer(seen(models["bidirectional"], step)).stats
        assert not stats.is_warmup and stats.runtime == "graphs"
    assert ran == [] and store.num_graphs == known


def test_a_call_that_met_a_new_shape_is_marked_as_warm_up(models) -> None:
    """Its pieces ran one by one inside the timed call, which no later call of that shape does."""
    ours = make_arm(models["bidirectional"], "none", EmulatedGraphs())
    texts = ("pick up the bowl", "pick up the bowl", "open the drawer and put the red mug in", "pick up the bowl")
    marks = [ours.infer(seen(models["bidirectional"], 0, text)).stats.is_warmup for text in texts]
    assert marks == [True, False, True, False]


@pytest.mark.parametrize("cache", ["adaptive", "official", "static"])
@pytest.mark.parametrize("name", ["bidirectional", "speculative", "cogact"])
def test_padding_has_no_influence(models, name: str, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and K/V of the padding are made NaN; every result stays what it was, bit for bit."""
    clean, poisoned = (make_arm(models[name], cache, CallAgain(), 16) for _ in range(2))
    expected = [clean.infer(seen(models[name], step)) for step in range(len(MOVES))]
    load, padded = Lane.load, []

    def poison(lane: Lane, source: RowState) -> None:
        load(lane, source)
        num_rows = source.rows.numel()
        padded.append(lane.state.x.shape[0] - num_rows)
        lane.state.x[num_rows:] = float("nan")

    monkeypatch.setattr(Lane, "load", poison)
    for step, wanted in enumerate(expected):
        found = poisoned.infer(seen(models[name], step))
        assert np.array_equal(found.actions, wanted.actions)
        with torch.inference_mode():
            poisoned.session.kv.k[:, :, -1] = poisoned.session.kv.v[:, :, -1] = float("nan")
    assert max(padded) > 0
    n = expected[-1].stats.num_prompt_tokens
    assert torch.equal(clean.session.kv.k[:, :, :n], poisoned.session.kv.k[:, :, :n])
    assert clean.session.entropies is None or torch.equal(clean.session.entropies, poisoned.session.entropies)


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


@given(st.integers(0, 70), st.integers(0, 70))
def test_blocks_are_aligned_powers_of_two_and_cover_the_range(first: int, length: int) -> None:
    blocks = list(aligned_blocks(first, first + length))
    assert [layer for a, b in blocks for layer in range(a, b)] == list(range(first, first + length))
    assert all((b - a) & (b - a - 1) == 0 and a % (b - a) == 0 for a, b in blocks)
    assert len(blocks) <= 2 * max(1, length.bit_length())


def test_the_dense_path_of_32_layers_is_six_launches() -> None:
    assert [b - a for a, b in aligned_blocks(0, 31)] == [16, 8, 4, 2, 1]  # and the last layer


def test_exact_entropies_run_eagerly_and_say_why(models, caplog: pytest.LogCaptureFixture) -> None:
    model = models["bidirectional"]
    ours, eager = (
        CachedPolicy(model, build_cache_policy("official", {**NUMBERS["official"], "entropy_rows": None}))
        for _ in range(2)
    )
    use_static(ours, EmulatedGraphs(), 8)
    with caplog.at_level(logging.INFO, logger="vlacache"):
        for step in range(4):
            now = seen(model, step)
            found = ours.infer(now)
            check_equal(ours, eager, found, eager.infer(now))
    assert caplog.text.count("entropy_rows=null") == 1 and found.stats.runtime == "graphs, prefill eager"


class Refusing(CallAgain):
    """Some pieces cannot be captured."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing")


def test_what_cannot_be_captured_runs_eagerly_and_says_why(models, caplog: pytest.LogCaptureFixture) -> None:
    ours, eager = (make_arm(models["causal"], "fixed_ratio", r) for r in (Refusing(), None))
    for step in range(3):
        now = seen(models["causal"], step)
        found, expected = ours.infer(now), eager.infer(now)
        check_equal(ours, eager, found, expected)
    assert "runs eagerly: operation not permitted" in caplog.text
    assert found.stats.runtime is not None and re.fullmatch(r"eager, \d+ refused", found.stats.runtime)
    assert expected.stats.runtime == "eager"


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


def test_auto_is_eager_on_a_cpu_and_graphs_need_a_gpu(models) -> None:
    model = models["causal"].model
    assert isinstance(build_runtime("auto", model), EagerRuntime)
    assert isinstance(build_runtime("eager", model), EagerRuntime)
    with pytest.raises(ValueError, match=r"model\.runtime=graphs: needs a model on a CUDA device, got cpu"):
        build_runtime("graphs", model)
    with pytest.raises(ValueError, match="needs a CUDA device, got cpu"):
        load_model(ModelConfig("tiny_oft", runtime="graphs"))
    with pytest.raises(ValueError, match=r"model\.runtime: expected one of"):
        load_model(ModelConfig("tiny_oft", runtime="compiled"))
