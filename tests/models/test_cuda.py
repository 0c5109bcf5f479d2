"""The same calls on a GPU: events as clock, and results equal to the CPU's within float32 rounding."""

from __future__ import annotations

import gc
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.twins import loaded, observation, small, tiny
from vlacache.bench.compare import timed_call
from vlacache.core.policies import CACHE_POLICIES, build_cache_policy
from vlacache.models.cogact.twin import write_cogact_twin
from vlacache.models.factory import LoadedModel, ModelConfig, load_model
from vlacache.models.policy import CachedPolicy
from vlacache.models.tiny import TINY_MODELS
from vlacache.types import STAGES

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def no_tf32() -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@pytest.mark.parametrize("model", sorted(TINY_MODELS))
@pytest.mark.parametrize("cache", sorted(CACHE_POLICIES))
def test_cuda_equals_cpu(model: str, cache: str) -> None:
    no_tf32()
    actions = {}
    for device in ("cpu", "cuda"):
        twin = loaded(small(TINY_MODELS[model]))
        twin.model.to(device)
        policy = CachedPolicy(twin, build_cache_policy(cache))
        policy.reset(0)
        actions[device] = torch.stack(
            [torch.from_numpy(policy.infer(observation(i, moved=i)).actions) for i in range(4)]
        )
    assert torch.allclose(actions["cpu"], actions["cuda"], atol=1e-4)


def test_events_time_the_stages() -> None:
    policy = CachedPolicy(
        load_model(ModelConfig("tiny_oft", device="cuda")),
        build_cache_policy("adaptive", {"dense_below_speed": None, "dense_at_grip": False}),
    )
    policy.reset(0)
    for step in range(3):
        stats = policy.infer(observation(step, size=256)).stats
        assert stats.clock == "cuda_event" and stats.peak_memory_bytes > 0
        assert sum(getattr(stats, f"{s}_ms") for s in STAGES) == pytest.approx(stats.total_ms, rel=0.02)


def on_gpu(model: str, runtime: str, decode: str = "plain") -> LoadedModel:
    twin = tiny() if model == "tiny_openvla" else loaded(small(TINY_MODELS[model]))
    twin.model.to("cuda")
    return replace(twin, runtime=runtime, decode=decode)


def arm(model: LoadedModel, cache: str) -> CachedPolicy:
    always = {"min_saving": 0.0, "max_backoff": 0, "dense_below_speed": None, "dense_at_grip": False}
    numbers: dict[str, object] = {} if cache == "none" else always
    policy = CachedPolicy(model, build_cache_policy(cache, numbers))
    policy.reset(0)
    return policy


@pytest.mark.parametrize("cache", sorted(CACHE_POLICIES))
@pytest.mark.parametrize(
    ("model", "decode"), [("tiny_oft", "plain"), ("tiny_openvla", "plain"), ("tiny_openvla", "speculative")]
)
def test_graphs_equal_eager(model: str, decode: str, cache: str) -> None:
    """Pieces before their capture, right after it, and replayed in another episode; then nothing is captured again."""
    no_tf32()
    ours, eager = (arm(on_gpu(model, runtime, decode), cache) for runtime in ("graphs", "eager"))
    known = []
    for _ in range(3):
        ours.reset(0), eager.reset(0)
        for step in range(6):
            now = observation(step, moved=3 * step)
            a, b = ours.infer(now), eager.infer(now)
            assert np.allclose(a.actions, b.actions, atol=1e-4)
            assert a.trace is not None and b.trace is not None
            assert np.array_equal(a.trace.reused_layers, b.trace.reused_layers)
            assert a.stats.accepted_tokens == b.stats.accepted_tokens
        known.append(ours.runtime.graphs.num_graphs)  # type: ignore[attr-defined]
    assert known[0] > 3 and known[1] == known[2]


@pytest.mark.parametrize("cache", ["fixed_ratio", "adaptive", "official"])
def test_cogacts_graphs_equal_eager(tmp_path: Path, cache: str) -> None:
    """The sampling, a graph of its own, behind a causal prefill; ten guided steps blow rounding up."""
    no_tf32()
    write_cogact_twin(tmp_path)
    config = ModelConfig("cogact", str(tmp_path), dtype="float32", device="cuda", unnorm_key="bridge_orig")
    ours, eager = (arm(load_model(replace(config, runtime=r)), cache) for r in ("graphs", "eager"))
    for _ in range(2):
        ours.reset(0), eager.reset(0)
        for step in range(4):
            now = observation(step, moved=3 * step)
            now = replace(now, images=dict.fromkeys(ours.cameras, now.images["agentview"]))
            assert np.allclose(ours.infer(now).actions, eager.infer(now).actions, atol=1e-3)
    assert ours.runtime.status == "graphs"


def test_arms_that_share_the_graphs_memory_do_not_touch_each_other() -> None:
    no_tf32()
    model = on_gpu("tiny_openvla", "graphs", "speculative")
    alone = arm(model, "fixed_ratio")
    expected = [alone.infer(observation(i, moved=i)).actions for _ in range(3) for i in range(4)]
    one, two = arm(model, "fixed_ratio"), arm(model, "adaptive")
    found = []
    for _ in range(3):
        for i in range(4):
            two.infer(observation(i, moved=20 - i))
            found.append(one.infer(observation(i, moved=i)).actions)
    for a, b in zip(found, expected, strict=True):
        assert np.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "cache", "waits"),
    # One transfer fetches the actions; a policy that reads attention fetches its entropies after that.
    [
        ("tiny_oft", "none", 1),
        ("tiny_oft", "fixed_ratio", 1),
        ("tiny_oft", "adaptive", 2),
        ("tiny_oft", "paper", 2),
        ("tiny_oft", "official", 2),
        ("tiny_openvla", "none", 1),
        ("tiny_openvla", "adaptive", 2),
    ],
)
def test_nothing_waits_inside_a_call(model: str, cache: str, waits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = arm(on_gpu(model, "graphs"), cache)
    for step in range(8):
        policy.infer(observation(step % 4, moved=step % 4))
    start, finish = policy._timer.start, policy._timer.finish

    def watched_start() -> None:
        start()
        torch.cuda.set_sync_debug_mode("warn")

    def watched_finish() -> dict[str, float]:
        torch.cuda.set_sync_debug_mode("default")
        return finish()

    monkeypatch.setattr(policy._timer, "start", watched_start)
    monkeypatch.setattr(policy._timer, "finish", watched_finish)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        policy.infer(observation(1, moved=1))
    synchronizing = [w for w in caught if "synchronizing CUDA operation" in str(w.message)]
    assert len(synchronizing) == waits, [f"{w.filename}:{w.lineno}" for w in synchronizing]


def test_memory_stays_as_it_is() -> None:
    policy = arm(on_gpu("tiny_oft", "graphs"), "adaptive")
    reserved = []
    for _ in range(4):
        policy.reset(0)
        for step in range(8):
            policy.infer(observation(step, moved=2 * step))
        reserved.append(torch.cuda.memory_reserved())
    assert reserved[1:] == [reserved[1]] * 3


def test_policies_built_after_the_last_one_went_are_captured_again() -> None:
    """torch gives the graphs' memory pool back with the last graph; the next capture must not join it."""
    for _ in range(3):
        policy = arm(on_gpu("tiny_oft", "graphs"), "adaptive")
        for step in range(3):
            stats = policy.infer(observation(step, moved=step)).stats
        store = policy.runtime.graphs  # type: ignore[attr-defined]
        assert store.num_graphs > 0 and store.num_refused == 0 and stats.runtime == "graphs"
        del policy, store
        gc.collect()
    kept = arm(on_gpu("tiny_oft", "graphs"), "none")
    kept.infer(observation(0))
    kept.runtime.graphs.clear()  # type: ignore[attr-defined]
    kept.infer(observation(0))
    assert kept.runtime.status == "graphs" and kept.runtime.graphs.num_graphs > 0  # type: ignore[attr-defined]


def test_the_peak_of_replayed_graphs_has_their_scratch_memory() -> None:
    """A replay allocates nothing, yet uses what the eager path allocates."""
    extra = {}
    for runtime in ("graphs", "eager"):
        policy = arm(on_gpu("tiny_openvla", runtime), "none")
        for _ in range(3):
            policy.infer(observation(0))
        extra[runtime] = timed_call(policy, observation(0), torch.device("cuda")).extra_bytes or 0
        assert (policy.runtime.scratch_bytes > 0) == (runtime == "graphs")
    print(extra)
    assert 0.5 * extra["eager"] < extra["graphs"] < 3 * extra["eager"]


def test_the_first_call_of_a_shape_is_marked_as_warm_up() -> None:
    policy = arm(on_gpu("tiny_oft", "graphs"), "none")
    texts = ("pick up the bowl", "pick up the bowl", "open the drawer and put the red mug in", "pick up the bowl")
    assert [policy.infer(observation(0, instruction=t)).stats.is_warmup for t in texts] == [True, False, True, False]
