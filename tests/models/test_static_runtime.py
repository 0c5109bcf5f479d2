"""Fixed shapes and captured pieces give the eager result: padding has no influence, and no replay is stale."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.models.graph_emulator import EmulatedGraphs
from tests.models.static_arms import MOVES, NUMBERS, check_equal, make_arm, seen, use_static
from tests.models.twins import loaded, small, tiny
from vlacache.core.context_shift import ContextShift
from vlacache.core.policies import CACHE_POLICIES, build_cache_policy
from vlacache.models.factory import ModelConfig, load_model
from vlacache.models.policy import CachedPolicy
from vlacache.models.row_state import RowState
from vlacache.models.runtime import EagerRuntime, build_runtime
from vlacache.models.runtime.graphs import CallAgain
from vlacache.models.runtime.lanes import Lane
from vlacache.models.runtime.static import aligned_blocks
from vlacache.models.tiny import TINY_OFT

NAMES, BUCKETS = ("bidirectional", "causal", "speculative", "cogact"), (1, 8, 32)


def combinations() -> list[Any]:
    """Every model with every policy, each of both with every bucket; the other combinations only in slow runs."""
    made = []
    for (i, name), (j, cache) in itertools.product(enumerate(NAMES), enumerate(sorted(CACHE_POLICIES))):
        for k, row_bucket in enumerate(BUCKETS):
            marks = () if (i + j) % len(BUCKETS) == k else pytest.mark.slow
            made.append(pytest.param(name, cache, row_bucket, marks=marks))
    return made


@pytest.mark.parametrize(("name", "cache", "row_bucket"), combinations())
def test_an_episode_equals_the_eager_one(static_models, name: str, cache: str, row_bucket: int) -> None:
    """Two episodes through emulated graphs: pieces run as they are, are captured, and are replayed with other rows."""
    graphs = EmulatedGraphs()
    ours, eager = make_arm(static_models[name], cache, graphs, row_bucket), make_arm(static_models[name], cache, None)
    for _ in range(2):
        ours.reset(0), eager.reset(0)
        for step in range(len(MOVES)):
            now = seen(static_models[name], step)
            check_equal(ours, eager, ours.infer(now), eager.infer(now))
    assert graphs.num_replays > 20


def test_the_episodes_of_adaptive_move_kv(static_models, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the test above would say nothing about it: with too few anchors nothing moves."""
    weights, plan = [], ContextShift.plan
    monkeypatch.setattr(ContextShift, "plan", lambda *args: weights.append(plan(*args)) or weights[-1])
    arm = make_arm(static_models["bidirectional"], "adaptive", EmulatedGraphs())
    for step in range(len(MOVES)):
        arm.infer(seen(static_models["bidirectional"], step))
    assert sum(float(shift.weight) > 0 for shift in weights) >= 2


@pytest.mark.parametrize("cache", ["fixed_ratio", "adaptive"])
@pytest.mark.parametrize("name", ["bidirectional", "speculative"])
def test_bfloat16_runs_and_stays_close(name: str, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for user in ("core.attention", "models.vision", "models.runtime.eager"):
        monkeypatch.setattr(f"vlacache.{user}.needs_products", lambda *_: False)  # as on a GPU
    model = tiny() if name == "speculative" else loaded(small(TINY_OFT))
    model.model.to(torch.bfloat16)
    model = replace(model, decode="speculative" if name == "speculative" else "plain")
    ours, eager = make_arm(model, cache, EmulatedGraphs()), make_arm(model, cache, None)
    for step in range(4):
        a, b = ours.infer(seen(model, step)), eager.infer(seen(model, step))
        assert np.isfinite(a.actions).all()
        assert name == "speculative" or np.abs(a.actions - b.actions).max() < 0.02


def test_prompts_of_different_length_share_memory_and_keep_their_graphs(static_models) -> None:
    for name in ("bidirectional", "speculative"):
        graphs = EmulatedGraphs()
        ours, eager = make_arm(static_models[name], "adaptive", graphs), make_arm(static_models[name], "adaptive", None)
        addresses = set()
        for text in ("pick up the bowl", "open the drawer and put the red mug in", "pick up the bowl"):
            for step in range(4):
                now = seen(static_models[name], step, text)
                check_equal(ours, eager, ours.infer(now), eager.infer(now))
                addresses.add(ours.session.kv.k.data_ptr())
        assert len(addresses) == 1
        num_graphs = ours.runtime.graphs.num_graphs  # type: ignore[attr-defined]
        ours.reset(0)
        ours.infer(seen(static_models[name], 0))
        assert ours.runtime.graphs.num_graphs == num_graphs, "a known prompt was captured again"  # type: ignore[attr-defined]


def test_a_prompt_too_long_for_the_memory_starts_over(static_models) -> None:
    ours, eager = (make_arm(static_models["causal"], "fixed_ratio", g) for g in (EmulatedGraphs(), None))
    for text in ("pick up the bowl", "put " + "the red mug on " * 30, "pick up the bowl"):
        for step in range(3):
            now = seen(static_models["causal"], step, text)
            check_equal(ours, eager, ours.infer(now), eager.infer(now))


def test_a_call_that_was_captured_launches_nothing_else(static_models) -> None:
    """The same frames again: no piece runs as it is."""
    ours = make_arm(static_models["bidirectional"], "adaptive", EmulatedGraphs())
    store = ours.runtime.graphs  # type: ignore[attr-defined]
    for _ in range(2):
        ours.reset(0)
        for step in range(len(MOVES)):
            ours.infer(seen(static_models["bidirectional"], step))
    known = store.num_graphs
    ran: list[object] = []
    original: Callable[..., None] = store.run

    def run(key, work):
        original(key, lambda: ran.append(key))

    store.run = run
    ours.reset(0)
    for step in range(len(MOVES)):
        stats = ours.infer(seen(static_models["bidirectional"], step)).stats
        assert not stats.is_warmup and stats.runtime == "graphs"
    assert ran == [] and store.num_graphs == known


def test_a_call_that_met_a_new_shape_is_marked_as_warm_up(static_models) -> None:
    """Its pieces ran one by one inside the timed call, which no later call of that shape does."""
    ours = make_arm(static_models["bidirectional"], "none", EmulatedGraphs())
    texts = ("pick up the bowl", "pick up the bowl", "open the drawer and put the red mug in", "pick up the bowl")
    marks = [ours.infer(seen(static_models["bidirectional"], 0, text)).stats.is_warmup for text in texts]
    assert marks == [True, False, True, False]


@pytest.mark.parametrize("cache", ["adaptive", "official", "static"])
@pytest.mark.parametrize("name", ["bidirectional", "speculative", "cogact"])
def test_padding_has_no_influence(static_models, name: str, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and K/V of the padding are made NaN; every result stays what it was, bit for bit."""
    clean, poisoned = (make_arm(static_models[name], cache, CallAgain(), 16) for _ in range(2))
    expected = [clean.infer(seen(static_models[name], step)) for step in range(len(MOVES))]
    load, padded = Lane.load, []

    def poison(lane: Lane, source: RowState) -> None:
        load(lane, source)
        num_rows = source.rows.numel()
        padded.append(lane.state.x.shape[0] - num_rows)
        lane.state.x[num_rows:] = float("nan")

    monkeypatch.setattr(Lane, "load", poison)
    for step, wanted in enumerate(expected):
        found = poisoned.infer(seen(static_models[name], step))
        assert np.array_equal(found.actions, wanted.actions)
        with torch.inference_mode():
            poisoned.session.kv.k[:, :, -1] = poisoned.session.kv.v[:, :, -1] = float("nan")
    assert max(padded) > 0
    n = expected[-1].stats.num_prompt_tokens
    assert torch.equal(clean.session.kv.k[:, :, :n], poisoned.session.kv.k[:, :, :n])
    assert clean.session.entropies is None or torch.equal(clean.session.entropies, poisoned.session.entropies)


@given(st.integers(0, 70), st.integers(0, 70))
def test_blocks_are_aligned_powers_of_two_and_cover_the_range(first: int, length: int) -> None:
    blocks = list(aligned_blocks(first, first + length))
    assert [layer for a, b in blocks for layer in range(a, b)] == list(range(first, first + length))
    assert all((b - a) & (b - a - 1) == 0 and a % (b - a) == 0 for a, b in blocks)
    assert len(blocks) <= 2 * max(1, length.bit_length())


def test_the_dense_path_of_32_layers_is_six_launches() -> None:
    assert [b - a for a, b in aligned_blocks(0, 31)] == [16, 8, 4, 2, 1]  # and the last layer


def test_exact_entropies_run_eagerly_and_say_why(static_models, caplog: pytest.LogCaptureFixture) -> None:
    model = static_models["bidirectional"]
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


def test_what_cannot_be_captured_runs_eagerly_and_says_why(static_models, caplog: pytest.LogCaptureFixture) -> None:
    ours, eager = (make_arm(static_models["causal"], "fixed_ratio", r) for r in (Refusing(), None))
    for step in range(3):
        now = seen(static_models["causal"], step)
        found, expected = ours.infer(now), eager.infer(now)
        check_equal(ours, eager, found, expected)
    assert "runs eagerly: operation not permitted" in caplog.text
    assert found.stats.runtime is not None and re.fullmatch(r"eager, \d+ refused", found.stats.runtime)
    assert expected.stats.runtime == "eager"


def test_auto_is_eager_on_a_cpu_and_graphs_need_a_gpu(static_models) -> None:
    model = static_models["causal"].model
    assert isinstance(build_runtime("auto", model), EagerRuntime)
    assert isinstance(build_runtime("eager", model), EagerRuntime)
    with pytest.raises(ValueError, match=r"model\.runtime=graphs: needs a model on a CUDA device, got cpu"):
        build_runtime("graphs", model)
    with pytest.raises(ValueError, match="needs a CUDA device, got cpu"):
        load_model(ModelConfig("tiny_oft", runtime="graphs"))
    with pytest.raises(ValueError, match=r"model\.runtime: expected one of"):
        load_model(ModelConfig("tiny_oft", runtime="compiled"))
