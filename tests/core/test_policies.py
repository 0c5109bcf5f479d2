"""Every policy: pure, within its candidates, within its age limit; bad numbers refused."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlacache.core.policies import CACHE_POLICIES, build_cache_policy
from vlacache.core.policies.published import OfficialVLACache

REUSING = sorted(set(CACHE_POLICIES) - {"none"})
any_state = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


@pytest.mark.parametrize("name", REUSING)
@any_state
@given(seed=st.integers(0, 10_000), num_layers=st.integers(2, 33))
def test_invariants(name: str, make_state, seed: int, num_layers: int) -> None:
    state = make_state(seed, num_layers)
    decision = build_cache_policy(name, {"max_age": 6}).decide(state)
    reused = decision.leave_layer < num_layers
    assert decision.num_layers == num_layers
    assert torch.all((decision.leave_layer >= 0) & (decision.leave_layer <= num_layers))
    assert not (reused & (state.oldest_age >= 6)).any(), "an old patch was reused"
    assert not (reused & decision.relevant).any(), "a task-relevant patch was reused"
    if name not in ("fixed_ratio", "random"):
        assert not (reused & ~decision.static).any(), "a patch that changed was reused"


@pytest.mark.parametrize("name", REUSING)
def test_same_state_same_decision(name: str, make_state) -> None:
    policy = build_cache_policy(name)
    assert torch.equal(policy.decide(make_state(3)).leave_layer, policy.decide(make_state(3)).leave_layer)


@pytest.mark.parametrize("name", ["fixed_ratio", "random"])
@pytest.mark.parametrize("ratio", [0.0, 0.2, 0.5, 1.0])
def test_ratio_is_spent_at_every_layer(name: str, ratio: float, make_state) -> None:
    decision = build_cache_policy(name, {"reuse_ratio": ratio}).decide(make_state())
    assert decision.num_reused == [round(ratio * 32)] * 8


def test_fixed_ratio_takes_the_most_similar(make_state) -> None:
    state = make_state(5)
    decision = build_cache_policy("fixed_ratio", {"reuse_ratio": 0.25}).decide(state)
    best = state.similarity.argsort(descending=True)[:8]
    assert set(best.tolist()) == set((decision.leave_layer == 0).nonzero().flatten().tolist())


def test_random_follows_the_episode_generator(make_state) -> None:
    policy = build_cache_policy("random", {"reuse_ratio": 0.5})
    a, b = policy.decide(make_state(1)), policy.decide(make_state(2))
    assert not torch.equal(a.leave_layer, b.leave_layer)


def test_static_leaves_the_first_layers_alone(make_state) -> None:
    decision = build_cache_policy("static", {"tau": 0.0, "top_k": 256, "first_layer": 16}).decide(make_state())
    assert decision.num_reused == [0] * 4 + [32] * 4


def test_official_reuses_a_raster_prefix_and_at_least_one_patch(make_state) -> None:
    state = make_state(
        0, 32, similarity=torch.ones(32), scores=torch.zeros(32).index_fill(0, torch.arange(16, 32), 1.0)
    )
    policy = OfficialVLACache(top_k_multiview=256, task_top_k_multiview=0)
    decision = policy.decide(state)
    left = (decision.leave_layer < 32).nonzero().flatten().tolist()
    assert left == list(range(len(left))), "not the top rows of the first view"
    assert policy.counts(torch.zeros(32), torch.tensor(32))[2] == 1  # max(1, ...) even at share 0
    assert policy.counts(torch.zeros(32), torch.tensor(0)).tolist() == [0] * 32  # but never more than there are


def test_official_counts_never_fall_and_hold_between_locations() -> None:
    shares = torch.zeros(32)
    shares[[2, 6, 9, 11]] = torch.tensor([0.5, 0.25, 0.75, 0.625])
    counts = OfficialVLACache().counts(shares, torch.tensor(100))
    assert counts.tolist() == [0] * 2 + [50] * 7 + [75] * 23


def test_more_focused_attention_means_more_reuse(make_state) -> None:
    policy = build_cache_policy("adaptive", {"tau": 0.0})
    spread = policy.decide(make_state(1, entropies=torch.full((8,), 3.6)))
    focused = policy.decide(make_state(1, entropies=torch.full((8,), 1.0)))
    assert focused.reuse_ratio > spread.reuse_ratio


def test_policies_that_need_attention_say_so_when_there_is_none(make_state) -> None:
    for name in ("static_task", "paper", "official", "adaptive"):
        with pytest.raises(RuntimeError, match="dense call first"):
            build_cache_policy(name).decide(make_state(scores=None))
    with pytest.raises(RuntimeError, match="entropies"):
        build_cache_policy("paper").decide(make_state(entropies=None))


@pytest.mark.parametrize(
    ("name", "numbers", "message"),
    [
        ("adaptiv", {}, "did you mean 'adaptive'"),
        ("adaptive", {"taau": 0.9}, "did you mean 'tau'"),
        ("adaptive", {"tau": 1.5}, "between -1.0 and 1.0"),
        ("adaptive", {"max_age": 0}, "at least 1"),
        ("fixed_ratio", {"reuse_ratio": 1.5}, "cache.reuse_ratio"),
        ("official", {"layers": []}, "at least one layer"),
        ("official", {"layers": [40]}, "between 0 and 31"),
        ("none", {"tau": 0.9}, "cache.tau"),
        ("static", {"tau": "high"}, "expected numbers"),
        ("static", {"top_k": 1.5}, r"cache.top_k: expected a whole number between 0 and 256, got 1\.5"),
        ("static", {"max_age": 2.5}, r"cache.max_age: expected a whole number at least 1, got 2\.5"),
        ("official", {"layers": [1.5]}, "cache.layers: expected a whole number"),
        ("adaptive", {"entropy_rows": 2.0}, "cache.entropy_rows: expected a whole number"),
        ("adaptive", {"refresh_every": True}, "cache.refresh_every: expected a whole number"),
        ("adaptive", {"carry_shift": "no"}, "cache.carry_shift: expected true or false, got 'no'"),
        ("static", {"dense_at_grip": 1}, "cache.dense_at_grip: expected true or false, got 1"),
    ],
)
def test_bad_numbers_are_refused(name: str, numbers: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_cache_policy(name, numbers)


def test_resolve_states_every_number(oft_layout) -> None:
    for name in CACHE_POLICIES:
        policy = build_cache_policy(name)
        resolved = policy.resolve(oft_layout, 8)
        assert resolved["name"] == name
        assert {f.name for f in fields(policy)} <= set(resolved)
    assert build_cache_policy("official").resolve(oft_layout, 8)["resolved_layers"] == [1, 2, 3]
