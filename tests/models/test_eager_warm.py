"""Products of other row counts are compiled behind the first call that reuses something, and change no answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import vlacache.models.runtime.eager as eager
from vlacache.bench.episode import RecordedEpisode
from vlacache.core.policies import build_cache_policy
from vlacache.models.factory import ModelConfig, load_model
from vlacache.models.policy import CachedPolicy


def answers(model: str, cache: str, monkeypatch: pytest.MonkeyPatch, *, compiles: bool) -> tuple[list, list[int]]:
    """Actions of four calls, and the calls behind which something was compiled."""
    loaded = load_model(ModelConfig(model, checkpoint="builtin", dtype="bfloat16"))
    found: list[int] = []
    actions: list = []
    real = eager.compile_row_counts

    def noted(*arguments: object) -> None:
        found.append(len(actions))
        if compiles:
            real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(eager, "compile_row_counts", noted)
    numbers = {"reuse_ratio": 0.4} if cache == "fixed_ratio" else {}
    policy = CachedPolicy(loaded, build_cache_policy(cache, numbers))
    policy.reset(0)
    for observation in RecordedEpisode.load().observations(8, loaded.info.views)[:4]:
        actions.append(torch.tensor(policy.infer(observation).actions))
    return actions, found


@pytest.mark.parametrize("model", ["tiny_oft", "tiny_openvla"])
def test_it_happens_once_and_changes_nothing(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_it, at = answers(model, "fixed_ratio", monkeypatch, compiles=True)
    without, _ = answers(model, "fixed_ratio", monkeypatch, compiles=False)
    assert at == [1]  # call 0 is cold, call 1 reuses
    assert all(torch.equal(a, b) for a, b in zip(with_it, without, strict=True))


def test_a_policy_that_reuses_nothing_pays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answers("tiny_oft", "none", monkeypatch, compiles=True)[1] == []


def test_the_shapes_are_those_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """After it no cached call of another reuse runs a product that was not run before."""
    seen: set[tuple[object, ...]] = set()

    def spy(name: str, real: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def product(*given: object, **more: object) -> torch.Tensor:
            tensors = [t for t in given if isinstance(t, torch.Tensor) and t.dim() > 1]
            seen.add((name, *((tuple(t.shape), t.stride()) for t in tensors)))
            return real(*given, **more)

        return product

    for where, name in ((torch.nn.functional, "linear"), (torch, "bmm"), (torch, "baddbmm")):
        monkeypatch.setattr(where, name, spy(name, getattr(where, name)))
    loaded = load_model(ModelConfig("tiny_oft", checkpoint="builtin", dtype="bfloat16"))
    observations = RecordedEpisode.load().observations(8, loaded.info.views)[:2]
    counts = []
    for ratio in (0.5, 0.2, 0.35, 0.7):
        policy = CachedPolicy(loaded, build_cache_policy("fixed_ratio", {"reuse_ratio": ratio}))
        policy.reset(0)
        assert policy.infer(observations[0]).stats.fallback == "cold"
        assert policy.infer(observations[1]).stats.reuse_ratio > 0.1
        counts.append(len(seen))
    assert len(set(counts)) == 1
