"""The central test: a cached run computes what a dense run would, given the same K/V.

The reference is a plain decoder written here: eager softmax, full rows, an explicit mask, no shared code but the
weights. Reused K/V rows are overwritten by the stored ones in every layer; hidden states of reused tokens flow on
and must not matter.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.models.twins import loaded, observation, small
from vlacache.core.context_shift import ContextShift
from vlacache.core.decision import CacheDecision, plan_segments
from vlacache.core.kv_cache import KVCache
from vlacache.core.layout import TokenLayout
from vlacache.core.policies import CACHE_POLICIES, build_cache_policy
from vlacache.models.config import DecoderConfig
from vlacache.models.decoder import Decoder, PrefillCall
from vlacache.models.factory import LoadedModel
from vlacache.models.policy import CachedPolicy
from vlacache.models.tiny import TINY_OFT

LAYOUT = TokenLayout.build(
    [("bos", "bos", 1), ("a", "vision", 16), ("b", "vision", 16), ("text", "text", 5), ("action", "action", 4)], (4, 4)
)
CONFIG = DecoderConfig(hidden_size=48, intermediate_size=80, num_layers=5, num_heads=3, vocab_size=32)
HEAD_ROWS = torch.tensor([37, 38, 40])


def plain_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def plain_rope(x: Tensor, theta: float, sign: int = 1) -> Tensor:
    """x [H, N, D]; pairs (i, i + D/2) turn by sign * position * theta^(-2i/D)."""
    half = x.shape[-1] // 2
    out = torch.empty_like(x)
    for i in range(half):
        angle = sign * torch.arange(x.shape[1]) * theta ** (-2 * i / x.shape[-1])
        c, s = torch.cos(angle), torch.sin(angle)
        out[..., i] = x[..., i] * c - x[..., i + half] * s
        out[..., i + half] = x[..., i + half] * c + x[..., i] * s
    return out


def plain_decoder(
    decoder: Decoder, x: Tensor, causal: bool, reuse: Tensor, stored: KVCache, anchors: Tensor | None = None
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Dense reference with overwritten rows: x [N, d], reuse bool[L, N] -> hidden [N, d] and K/V per layer.

    ``anchors``: positions whose mean change, before RoPE, the overwritten rows make too, from the second layer on.
    """
    n, heads, eps = x.shape[0], decoder.config.num_heads, decoder.config.rms_eps
    written = []
    for index, layer in enumerate(decoder.layers):
        h = plain_norm(x, layer.input_norm.weight, eps)
        q, k, v = (t.reshape(n, heads, -1).transpose(0, 1) for t in (h @ layer.qkv.weight.T).chunk(3, dim=-1))
        q, k = plain_rope(q, decoder.config.rope_theta), plain_rope(k, decoder.config.rope_theta)
        row, old_k, old_v = reuse[index][None, :, None], stored.k[index], stored.v[index]
        if anchors is not None and index > 0:
            unturned = plain_rope(k - old_k, decoder.config.rope_theta, -1)[:, anchors].mean(1, keepdim=True)
            old_k = old_k + plain_rope(unturned.expand(-1, n, -1), decoder.config.rope_theta)
            old_v = old_v + (v - old_v)[:, anchors].mean(1, keepdim=True)
        k, v = torch.where(row, old_k, k), torch.where(row, old_v, v)
        written.append((k, v))
        weights = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
        if causal:
            weights = weights + torch.full((n, n), float("-inf")).triu(1)
        x = x + (weights.softmax(-1) @ v).transpose(0, 1).reshape(n, -1) @ layer.out.weight.T
        gate, up = (plain_norm(x, layer.mlp_norm.weight, eps) @ layer.gate_up.weight.T).chunk(2, dim=-1)
        x = x + (gate * torch.sigmoid(gate) * up) @ layer.down.weight.T
    return plain_norm(x, decoder.norm.weight, eps), written


def decoder_and_inputs(seed: int) -> tuple[Decoder, Tensor, KVCache]:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        decoder = Decoder(CONFIG).eval().requires_grad_(False)
    x = torch.randn(LAYOUT.num_tokens, CONFIG.hidden_size, generator=generator)
    kv = KVCache(5, 3, LAYOUT.num_tokens, 16, dtype=torch.float32, device=torch.device("cpu"))
    kv.k.copy_(torch.randn(kv.k.shape, generator=generator))
    kv.v.copy_(torch.randn(kv.v.shape, generator=generator))
    return decoder, x, kv


@settings(max_examples=40, deadline=None)
@given(leave=st.lists(st.integers(0, 5), min_size=32, max_size=32), causal=st.booleans(), seed=st.integers(0, 50))
def test_any_decision_equals_the_dense_run_with_overwritten_rows(leave: list[int], causal: bool, seed: int) -> None:
    """Any leave layers: kept sets with holes, both kinds of attention, K/V written where computed and nowhere else."""
    decoder, x, kv = decoder_and_inputs(seed)
    none = torch.zeros(32, dtype=torch.bool)
    decision = CacheDecision(torch.tensor(leave), 5, none, none)
    expected, written = plain_decoder(decoder, x, causal, decision.reuse_mask(LAYOUT), kv)
    with torch.inference_mode():
        segments = plan_segments(decision, LAYOUT, causal=causal)
        hidden = decoder.prefill(x, segments, HEAD_ROWS, PrefillCall(kv, causal))
    assert torch.allclose(hidden, expected[HEAD_ROWS], atol=2e-5)
    # Rows that left earlier differ in the reference's hidden states, but their K/V come from the cache in both.
    for index, (k, v) in enumerate(written):
        assert torch.allclose(kv.k[index], k, atol=2e-5) and torch.allclose(kv.v[index], v, atol=2e-5)


@settings(max_examples=20, deadline=None)
@given(leave=st.lists(st.integers(0, 4), min_size=16, max_size=16), causal=st.booleans(), seed=st.integers(0, 50))
def test_a_shift_moves_reused_rows_by_the_mean_change_of_the_anchors(leave: list[int], causal: bool, seed: int) -> None:
    """Every second patch stays: 16 anchors, each taken twice. The others leave anywhere."""
    decoder, x, kv = decoder_and_inputs(seed)
    stays = torch.tensor([5, 0]).repeat(16) == 5
    layers = torch.full((32,), 5)
    layers[~stays] = torch.tensor(leave)
    decision = CacheDecision(layers, 5, stays, torch.zeros(32, dtype=torch.bool))
    anchors = 1 + torch.arange(0, 32, 2)
    expected, written = plain_decoder(decoder, x, causal, decision.reuse_mask(LAYOUT), kv, anchors)
    with torch.inference_mode():
        shift = ContextShift.plan(decision, LAYOUT, *decoder.rope(kv.capacity, x))
        segments = plan_segments(decision, LAYOUT, causal=causal)
        hidden = decoder.prefill(x, segments, HEAD_ROWS, PrefillCall(kv, causal, shift=shift))
    assert torch.allclose(hidden, expected[HEAD_ROWS], atol=2e-5)
    for index, (k, v) in enumerate(written):
        assert torch.allclose(kv.k[index], k, atol=2e-5) and torch.allclose(kv.v[index], v, atol=2e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_dense_prefill_equals_the_batched_forward(causal: bool) -> None:
    decoder, x, kv = decoder_and_inputs(3)
    dense = CacheDecision.dense(LAYOUT, 5, "cold")
    hidden = decoder.prefill(x, plan_segments(dense, LAYOUT, causal=causal), HEAD_ROWS, PrefillCall(kv, causal))
    assert torch.allclose(hidden, decoder(x[None], causal=causal)[0, HEAD_ROWS], atol=2e-5)


def test_a_decode_step_equals_a_longer_prefill() -> None:
    decoder, x, _ = decoder_and_inputs(4)
    kv = KVCache(5, 3, LAYOUT.num_tokens + 2, 16, dtype=torch.float32, device=torch.device("cpu"))
    dense = CacheDecision.dense(LAYOUT, 5, "cold")
    decoder.prefill(x, plan_segments(dense, LAYOUT, causal=True), HEAD_ROWS, PrefillCall(kv, causal=True))
    extra = torch.randn(2, CONFIG.hidden_size, generator=torch.Generator().manual_seed(9))
    steps = [decoder.decode_step(extra[i : i + 1], LAYOUT.num_tokens + i, kv) for i in range(2)]
    expected = decoder(torch.cat([x, extra])[None], causal=True)[0, -2:]
    assert torch.allclose(torch.cat(steps), expected, atol=2e-5)


def run(policy: CachedPolicy, steps: list[int]) -> list[Tensor]:
    policy.reset(0)
    return [torch.from_numpy(policy.infer(observation(i, moved=m)).actions) for i, m in enumerate(steps)]


def test_reuse_nothing_is_bit_equal_to_no_cache(twin: LoadedModel) -> None:
    none = CachedPolicy(twin, build_cache_policy("none"))
    nothing = CachedPolicy(
        twin, build_cache_policy("fixed_ratio", {"reuse_ratio": 0.0, "min_saving": 0.0, "max_backoff": 0})
    )
    for a, b in zip(run(none, [0, 4, 9]), run(nothing, [0, 4, 9]), strict=True):
        assert torch.equal(a, b)


def test_same_frame_twice_with_full_reuse_gives_the_same_action(twin: LoadedModel) -> None:
    """Bidirectional and causal: nothing changed, so every stored K/V is what would be computed again."""
    policy = CachedPolicy(twin, build_cache_policy("fixed_ratio", {"reuse_ratio": 1.0}))
    first, second = run(policy, [0, 0])
    assert policy.session.max_age == 1
    assert torch.allclose(first, second, atol=1e-5)


@pytest.mark.parametrize("name", sorted(CACHE_POLICIES))
def test_every_policy_runs_and_a_cold_call_equals_no_cache(twin: LoadedModel, name: str) -> None:
    none = run(CachedPolicy(twin, build_cache_policy("none")), [0, 1, 2, 30])
    ours = run(CachedPolicy(twin, build_cache_policy(name)), [0, 1, 2, 30])
    assert torch.equal(none[0], ours[0])
    assert all(a.shape == b.shape and torch.isfinite(b).all() for a, b in zip(none, ours, strict=True))


def test_reusing_a_changed_picture_changes_the_action() -> None:
    """The test bed can show harm: a stale cache does not reproduce the dense action."""
    model = loaded(small(TINY_OFT))
    stale = run(CachedPolicy(model, build_cache_policy("fixed_ratio", {"reuse_ratio": 1.0})), [0, 30])
    dense = run(CachedPolicy(model, build_cache_policy("none")), [0, 30])
    assert not torch.allclose(stale[1], dense[1], atol=1e-5)
    assert torch.allclose(stale[1], stale[0], atol=1e-5)


def test_bf16_error_of_the_cached_path_is_at_most_twice_the_dense_paths() -> None:
    """Error budget: cached bf16 against cached fp32, in units of dense bf16 against dense fp32."""
    decoder, x, kv = decoder_and_inputs(11)
    none = torch.zeros(32, dtype=torch.bool)
    leave = torch.randint(0, 6, (32,), generator=torch.Generator().manual_seed(1))
    errors = {}
    for name, decision in (
        ("dense", CacheDecision.dense(LAYOUT, 5, "cold")), ("cached", CacheDecision(leave, 5, none, none)),
    ):  # fmt: skip
        hidden = {}
        for dtype in (torch.float32, torch.bfloat16):
            store = KVCache(5, 3, LAYOUT.num_tokens, 16, dtype=dtype, device=torch.device("cpu"))
            store.k.copy_(kv.k), store.v.copy_(kv.v)
            segments = plan_segments(decision, LAYOUT, causal=False)
            hidden[dtype] = (
                decoder.to(dtype).prefill(x.to(dtype), segments, HEAD_ROWS, PrefillCall(store, False)).float()
            )
        decoder.to(torch.float32)
        errors[name] = (hidden[torch.bfloat16] - hidden[torch.float32]).abs().mean()
    assert errors["cached"] <= 2 * errors["dense"]
