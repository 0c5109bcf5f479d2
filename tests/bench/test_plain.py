"""The eager rungs compute what the dense path computes, and do what the official script does beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vlacache.bench import plain
from vlacache.bench.episode import RecordedEpisode
from vlacache.bench.plain import PlainPolicy
from vlacache.core.attention import attention_rows
from vlacache.core.policies import build_cache_policy
from vlacache.models.factory import LoadedModel
from vlacache.models.policy import CachedPolicy

MODELS = ("openvla", "openvla_oft", "cogact")


@pytest.mark.parametrize("attentions", [True, False], ids=["attentions", "eager"])
@pytest.mark.parametrize("name", MODELS)
def test_same_actions_as_the_dense_path(
    twins: dict[str, LoadedModel], episode: RecordedEpisode, name: str, attentions: bool
) -> None:
    loaded = twins[name]
    arms = [PlainPolicy(loaded, attentions=attentions), CachedPolicy(loaded, build_cache_policy("none"))]
    found = []
    for arm in arms:
        arm.reset(3)
        observations = episode.observations(20, loaded.info.views)[:3]
        found.append(np.stack([arm.infer(observation).actions for observation in observations]))
    assert np.abs(found[0] - found[1]).max() < 2e-5
    assert np.abs(np.diff(found[0], axis=0)).max() > 1e-3, "the twin does not look at the frames"


@pytest.mark.parametrize("name", MODELS)
def test_maps_of_all_layers_are_kept(twins: dict[str, LoadedModel], episode: RecordedEpisode, name: str) -> None:
    loaded = twins[name]
    policy = PlainPolicy(loaded, attentions=True)
    policy.reset(0)
    stats = policy.infer(episode.observations(8, loaded.info.views)[0]).stats
    n, layers = stats.num_prompt_tokens, loaded.info.num_layers
    assert [len(maps) for maps in policy.maps] == [layers] * (7 if name == "openvla" else 1)
    for maps in policy.maps[0]:
        assert maps.shape == (1, 4, n, n)
        assert torch.allclose(maps.sum(-1), torch.ones(1, 4, n), atol=1e-5)
        above = maps[0].triu(1).abs().max()
        assert above > 0 if name == "openvla_oft" else above == 0
    for step, maps in enumerate(policy.maps[1:], start=1):
        assert maps[-1].shape == (1, 4, 1, n + step)


def test_maps_agree_with_the_side_readout(twins: dict[str, LoadedModel], episode: RecordedEpisode) -> None:
    """First layer, against rows that the library computes from its own q and k."""
    loaded = twins["openvla"]
    policy, ours = PlainPolicy(loaded, attentions=True), CachedPolicy(loaded, build_cache_policy("none"))
    observation = episode.observations(8, loaded.info.views)[0]
    for arm in (policy, ours):
        arm.reset(0)
        arm.infer(observation)
    n = policy.maps[0][0].shape[-1]
    keys = ours.session.kv.k[0]
    decoder = loaded.model.decoder
    layer = decoder.layers[0]
    text = loaded.model.embed(torch.tensor([loaded.tokenizer.encode("x")[0]]))
    cos, sin = decoder.rope(n, text)
    q = layer.project(layer.input_norm(text), 0, 1)[:, 0]  # BOS at position 0: rotated by nothing
    assert torch.equal(cos[0], torch.ones_like(cos[0])) and torch.equal(sin[0], torch.zeros_like(sin[0]))
    rows = attention_rows(q.transpose(0, 1), keys, torch.tensor([0]), num_keys=n)
    assert torch.allclose(policy.maps[0][0][0, :, :1], rows, atol=1e-6)


def test_only_the_attentions_rung_synchronises(
    twins: dict[str, LoadedModel], episode: RecordedEpisode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once at the start of every pass and at the end of the prefill, as the official fork does."""
    counts = []
    for attentions in (True, False):
        policy, calls = PlainPolicy(twins["openvla"], attentions=attentions), []
        monkeypatch.setattr(plain.PlainPolicy, "_synchronize", lambda self, calls=calls: calls.append(1))
        policy.reset(0)
        policy.infer(episode.observations(8, policy.cameras)[0])
        counts.append(len(calls))
        assert bool(policy.maps) == attentions
    assert counts == [7 + 1, 0]


@pytest.mark.parametrize("name", MODELS)
def test_macs_agree_with_counted_matrix_products(
    twins: dict[str, LoadedModel], episode: RecordedEpisode, name: str
) -> None:
    policy = PlainPolicy(twins[name], attentions=False)
    policy.reset(0)
    observation = episode.observations(8, policy.cameras)[0]
    policy.infer(observation)
    with FlopCounterMode(display=False) as resizing:
        policy._preprocess(observation)
    with FlopCounterMode(display=False) as counter:
        stats = policy.infer(observation).stats
    products = (counter.get_total_flops() - resizing.get_total_flops()) / 2
    assert stats.macs == pytest.approx(products, rel=0.01)


def test_weights_are_not_held_twice(twins: dict[str, LoadedModel]) -> None:
    loaded = twins["openvla_oft"]
    policy = PlainPolicy(loaded, attentions=False)
    layer, own = loaded.model.decoder.layers[1], policy._decoder.layers[1]
    fused = {layer.qkv.weight.untyped_storage().data_ptr(), layer.gate_up.weight.untyped_storage().data_ptr()}
    assert {t.untyped_storage().data_ptr() for t in (own.q, own.k, own.v, own.gate, own.up)} == fused
