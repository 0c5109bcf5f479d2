"""What moves the reused K/V, and when nothing may move. Its numbers in a prefill: test_cached_equals_uncached.py."""

from __future__ import annotations

import torch
from torch import Tensor

from vlacache.core.context_shift import MIN_ANCHORS, NUM_ANCHORS, ContextShift, plan_shift
from vlacache.core.decision import CacheDecision
from vlacache.core.kv_cache import KVCache
from vlacache.core.layout import TokenLayout
from vlacache.core.policies import build_cache_policy
from vlacache.core.rope import rope_table

LAYERS = 4
LAYOUT = TokenLayout.build([("bos", "bos", 1), ("a", "vision", 64), ("b", "vision", 64), ("text", "text", 3)], (8, 8))
PATCHES = LAYOUT.num_patches


def tables() -> tuple[Tensor, Tensor]:
    cos, sin = rope_table(LAYOUT.num_tokens, 16, 10000.0)
    return cos[:, None], sin[:, None]


def decide(num_staying: int, *, static: bool = True) -> CacheDecision:
    """The first patches stay, the others leave after the first layer."""
    leave = torch.ones(PATCHES, dtype=torch.int64)
    leave[:num_staying] = LAYERS
    mask = torch.full((PATCHES,), static)
    return CacheDecision(leave, LAYERS, mask, torch.zeros_like(mask))


def stored(seed: int = 0) -> KVCache:
    kv = KVCache(LAYERS, 2, LAYOUT.num_tokens, 16, dtype=torch.float32, device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    kv.k.normal_(generator=generator), kv.v.normal_(generator=generator)
    return kv


def carried(decision: CacheDecision, seed: int) -> tuple[KVCache, KVCache]:
    """K/V of layer 1 before and after other K/V were written to the patches that stay."""
    kv = stored()
    before = kv.clone()
    shift = ContextShift.plan(decision, LAYOUT, *tables()).at(1, *tables())
    old, new = shift.read(kv, 1), stored(seed)
    rows = 1 + torch.nonzero(decision.leave_layer == LAYERS)[:, 0]
    computed = new.both[:, 1].permute(2, 0, 1, 3)[rows]
    kv.write(1, rows, computed)
    before.write(1, rows, computed)
    shift.carry(kv, 1, old)
    return before, kv


def test_anchors_are_spread_over_the_static_patches_that_every_layer_recomputes() -> None:
    shift = ContextShift.plan(decide(100), LAYOUT, *tables())
    patches = shift.anchors - LAYOUT.vision_start
    assert float(shift.weight) == 1 / NUM_ANCHORS
    assert patches.numel() == NUM_ANCHORS == patches.unique().numel()
    assert 0 <= int(patches.min()) < 4 and 95 < int(patches.max()) < 100
    assert set(patches.diff().tolist()) == {3, 4}


def test_only_reused_patches_move() -> None:
    before, after = carried(decide(40), seed=1)
    moved = (before.k[1] != after.k[1]).any(-1).any(0), (before.v[1] != after.v[1]).any(-1).any(0)
    expected = torch.zeros(LAYOUT.num_tokens, dtype=torch.bool)
    expected[1 + 40 : 1 + PATCHES] = True
    assert all(torch.equal(rows, expected) for rows in moved)
    assert torch.equal(before.k[2:], after.k[2:]) and torch.equal(before.v[2:], after.v[2:])


def test_a_still_picture_moves_nothing() -> None:
    before, after = carried(decide(40), seed=0)
    assert torch.equal(before.k, after.k) and torch.equal(before.v, after.v)


def test_too_few_anchors_move_nothing() -> None:
    for decision in (decide(MIN_ANCHORS - 1), decide(0), decide(40, static=False)):
        before, after = carried(decision, seed=1)
        assert torch.equal(before.k, after.k) and torch.equal(before.v, after.v)
    before, after = carried(decide(MIN_ANCHORS), seed=1)
    assert not torch.equal(before.k, after.k)


def test_layers_before_the_first_reuse_stay() -> None:
    shift = ContextShift.plan(decide(40), LAYOUT, *tables())
    assert not shift.at(0, *tables()).share.any() and shift.at(1, *tables()).share.count_nonzero() == PATCHES - 40


def test_only_a_policy_that_asks_for_it_moves_anything_and_only_under_full_attention() -> None:
    dense = CacheDecision.dense(LAYOUT, LAYERS, "cold")
    for name, expected in (("adaptive", True), ("static_task", False), ("paper", False), ("static", False)):
        policy = build_cache_policy(name)
        assert (plan_shift(policy, decide(40), LAYOUT, tables(), causal=False) is not None) is expected
        assert plan_shift(policy, decide(40), LAYOUT, tables(), causal=True) is None
        assert plan_shift(policy, dense, LAYOUT, tables(), causal=False) is None
