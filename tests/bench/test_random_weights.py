"""Published shapes with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vlacache.bench.episode import RecordedEpisode
from vlacache.bench.random_weights import PROMPT_IDS, random_config, random_model
from vlacache.core.flops import prefill_macs
from vlacache.core.policies import build_cache_policy
from vlacache.models.memory import require_memory
from vlacache.models.policy import CachedPolicy

CPU = torch.device("cpu")


def test_small_twins_have_the_published_proportions() -> None:
    """256 patches a view; the towers a tenth of the MACs, as in the published models."""
    for name in PROMPT_IDS:
        loaded = random_model(name, "small", device=CPU, dtype=torch.float32)
        config, published = loaded.model.config, random_config(name, "7b")
        assert (config.grid, config.views, config.head) == (published.grid, published.views, published.head)
        views, decoder = len(config.views), config.decoder.shape
        tokens = views * config.grid[0] * config.grid[1] + 90
        prefill = prefill_macs(decoder, [tokens] * decoder.num_layers, tokens, 1)
        assert 0.05 < loaded.model.vision.macs(views) / prefill < 0.25


def test_published_shapes_add_up_and_are_refused_before_they_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """7.5 B parameters in bf16; with 4 GiB free nothing is allocated."""
    monkeypatch.setattr("vlacache.models.memory.free_memory", lambda device: 4 * 2**30)
    with pytest.raises(RuntimeError, match=r"expected 15\.\d GiB of free memory .* got 4\.0 GiB"):
        random_model("openvla", "7b", device=CPU, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="expected a model of"):
        random_config("tiny_oft", "7b")
    require_memory(3 * 2**30, CPU, what="fits")


def test_cogact_keeps_its_denoiser_in_float32() -> None:
    model = random_model("cogact", "tiny", device=CPU, dtype=torch.bfloat16).model
    assert {p.dtype for p in model.head.parameters()} == {torch.float32}
    assert model.dtype == torch.bfloat16


def test_random_weights_give_actions_that_follow_the_frames(episode: RecordedEpisode) -> None:
    for name in PROMPT_IDS:
        loaded = random_model(name, "tiny", device=CPU, dtype=torch.float32)
        policy = CachedPolicy(loaded, build_cache_policy("none"))
        policy.reset(0)
        frames = [episode.observations(1, loaded.info.views)[i] for i in (0, 40)]
        first, second = (policy.infer(frame).actions for frame in frames)
        assert np.isfinite(first).all() and np.abs(first - second).max() > 1e-3
