"""Deciding never asks the device for a value: on the meta device there are none, and every policy works there."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vlacache.core.context_shift import ContextShift
from vlacache.core.decision import CacheDecision, Padding, plan_segments
from vlacache.core.kv_cache import KVCache
from vlacache.core.policies import CACHE_POLICIES, CacheState, build_cache_policy
from vlacache.core.rope import rope_table
from vlacache.core.transfer import HostCopy

META = torch.device("meta")


def without_values(state: CacheState) -> CacheState:
    """The same shapes; entropies and random numbers stay on the host, as in a run on a GPU."""
    assert state.scores is not None
    return replace(
        state, similarity=state.similarity.to(META), scores=state.scores.to(META), oldest_age=state.oldest_age.to(META)
    )


@pytest.mark.parametrize("name", sorted(CACHE_POLICIES))
def test_a_policy_decides_without_a_value(name: str, make_state) -> None:
    numbers = {} if name == "none" else {"max_age": 3}
    decision = build_cache_policy(name, numbers).decide(without_values(make_state()))
    assert decision.leave_layer.device == META and decision.leave_layer.shape == (32,)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("padding", [None, Padding(8, 99)])
def test_row_sets_need_the_counts_alone(make_state, oft_layout, causal: bool, padding: Padding | None) -> None:
    """With the counts on the host the plan has every shape; the same shapes as with values."""
    known = build_cache_policy("adaptive", {"tau": 0.0}).decide(make_state())
    none = torch.zeros(32, dtype=torch.bool, device=META)
    unknown = CacheDecision(known.leave_layer.to(META), 8, none, none)
    object.__setattr__(unknown, "_counts", HostCopy(torch.tensor(known.num_reused)))
    a, b = (plan_segments(d, oft_layout, causal=causal, num_drafts=6, padding=padding) for d in (known, unknown))
    assert len(a) == len(b) > 1
    for one, two in zip(a, b, strict=True):
        assert (one.first_layer, one.stop_layer, one.num_rows) == (two.first_layer, two.stop_layer, two.num_rows)
        for name in ("rows", "slots", "keep", "mask"):
            x, y = getattr(one, name), getattr(two, name)
            assert (x is None) == (y is None) and (x is None or x.shape == y.shape), name


def test_a_shift_is_planned_and_carried_without_a_value(oft_layout) -> None:
    mask = torch.ones(32, dtype=torch.bool, device=META)
    decision = CacheDecision(torch.full((32,), 8, device=META), 8, mask, mask)
    kv = KVCache(8, 3, oft_layout.num_tokens, 16, dtype=torch.bfloat16, device=META)
    tables = [table[:, None].to(META, torch.bfloat16) for table in rope_table(oft_layout.num_tokens, 16, 10000.0)]
    shift = ContextShift.plan(decision, oft_layout, *tables).at(1, *tables)
    shift.carry(kv, 1, shift.read(kv, 1))


@pytest.mark.parametrize(
    "wait", [lambda x: x.tolist(), lambda x: bool(x.any()), lambda x: x[x > 0], lambda x: int(x[0])]
)
def test_the_meta_device_shows_a_wait(wait) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        wait(torch.zeros(4, device=META))
