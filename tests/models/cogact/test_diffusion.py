"""Schedule and sampler: against the oracle, and against properties that need none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vlacache.models.cogact.diffusion import (
    DDIMSchedule,
    ddim_sample,
    ddim_step,
    ddim_timesteps,
    episode_noise,
    guide,
    squared_cosine_betas,
)
from vlacache.models.cogact.dit import DIT_SIZES, DiT, DiTConfig
from vlacache.models.cogact.head import DiffusionHead

COUNTS = [1, 2, 4, 5, 8, 10, 20, 25, 34, 50, 100]
SAMPLES = [(10, 1.0), (10, 1.5), (10, 3.0), (5, 1.0), (5, 1.5)]


# --- the schedule ---------------------------------------------------------------------------------------------------


def test_cumulative_alphas_are_the_known_ones() -> None:
    alpha_bar = np.cumprod(1 - squared_cosine_betas())
    known = {0: 0.999369, 10: 0.966717, 50: 0.478265, 90: 0.0195444, 99: 2.43e-7}
    for step, value in known.items():
        assert alpha_bar[step] == pytest.approx(value, rel=1e-3 if step == 99 else 2e-5)


@pytest.mark.parametrize("count", range(1, 101))
def test_timesteps_have_one_stride_or_are_refused(count: int) -> None:
    """The smallest stride that gives the count, by plain search; no other count is accepted."""
    strides = [i for i in range(1, 100) if -(-100 // i) == count]
    if count == 1:
        assert ddim_timesteps(1) == (50,)
    elif strides:
        assert ddim_timesteps(count) == tuple(min(strides) * k for k in range(count))
    else:
        with pytest.raises(ValueError, match="integer stride"):
            ddim_timesteps(count)


def test_ten_steps_start_at_90_and_end_clean() -> None:
    schedule = DDIMSchedule.build(10)
    assert schedule.timesteps == (90, 80, 70, 60, 50, 40, 30, 20, 10, 0)
    assert schedule.previous_alpha_bars[-1] == 1.0 and schedule.previous_alpha_bars[:-1] == schedule.alpha_bars[1:]


@pytest.mark.parametrize("count", COUNTS)
def test_schedule_is_the_oracles(oracle: Mapping[str, Tensor], count: int) -> None:
    schedule, prefix = DDIMSchedule.build(count), f"schedule.ddim{count}."
    assert list(schedule.timesteps[::-1]) == oracle[prefix + "timesteps_ascending"].tolist()
    for name, ours in (
        ("alphas_cumprod", schedule.alpha_bars), ("alphas_cumprod_prev", schedule.previous_alpha_bars),
    ):  # fmt: skip
        assert np.allclose(ours[::-1], oracle[prefix + name], rtol=0, atol=1e-12)


def test_betas_and_refused_counts_are_the_oracles(oracle: Mapping[str, Tensor]) -> None:
    assert np.allclose(squared_cosine_betas(), oracle["schedule.betas"], rtol=0, atol=1e-12)
    refused = oracle["schedule.ddim_raises"].tolist()
    assert refused and not set(refused) & set(COUNTS)
    for count in refused:
        with pytest.raises(ValueError, match=f"got {count}"):
            ddim_timesteps(count)


# --- the sampler ----------------------------------------------------------------------------------------------------


def test_a_perfect_denoiser_recovers_the_clean_sample() -> None:
    """If the predicted noise is the true one, every step stays on the path and the end is the clean sample."""
    schedule, rng = DDIMSchedule.build(10), torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 16, 7, generator=rng, dtype=torch.float64)
    start = schedule.alpha_bars[0] ** 0.5 * clean + (1 - schedule.alpha_bars[0]) ** 0.5 * noise

    def true_noise(x: Tensor, index: int) -> Tensor:
        bar = schedule.alpha_bars[index]
        return (x - bar**0.5 * clean) / (1 - bar) ** 0.5

    assert torch.allclose(ddim_sample(true_noise, start, schedule), clean, atol=1e-9)


@given(st.floats(0.01, 0.99), st.floats(0.01, 1.0))
def test_a_step_keeps_clean_sample_and_noise(bar: float, previous: float) -> None:
    clean, noise = torch.tensor([0.3, -1.2], dtype=torch.float64), torch.tensor([1.0, 0.4], dtype=torch.float64)
    x, found = ddim_step(bar**0.5 * clean + (1 - bar) ** 0.5 * noise, noise, bar, previous)
    assert torch.allclose(found, clean)
    assert torch.allclose(x, previous**0.5 * clean + (1 - previous) ** 0.5 * noise)


def test_guidance_interpolates_and_extrapolates() -> None:
    c, u = torch.tensor([2.0]), torch.tensor([1.0])
    assert [guide(c, u, s).item() for s in (0.0, 1.0, 1.5, 3.0)] == [1.0, 2.0, 2.5, 4.0]


def plain_sample(net: DiT, z: Tensor, noise: Tensor, count: int, scale: float) -> Tensor:
    """The published way, step by step: batch of two, the whole network at every step, float64 coefficients."""
    alpha_bar = np.cumprod(1 - squared_cosine_betas())
    steps = ddim_timesteps(count)
    x = torch.cat([noise[None], noise[None]])
    both = torch.cat([z, net.z_embedder.uncondition])
    for k in reversed(range(count)):
        now, before = alpha_bar[steps[k]], alpha_bar[steps[k - 1]] if k else 1.0
        x = torch.cat([x[:1], x[:1]])
        cond, uncond = net(x, torch.full((2,), steps[k]), both).chunk(2)
        eps = (uncond + scale * (cond - uncond)).repeat(2, 1, 1)
        clean = (x - np.sqrt(1 - now) * eps) / np.sqrt(now)
        x = np.sqrt(before) * clean + np.sqrt(1 - before) * eps
    return x[0]


@pytest.fixture
def head() -> DiffusionHead:
    torch.manual_seed(0)
    head = DiffusionHead(DiTConfig(hidden_size=24, depth=2, num_heads=3, token_size=20))
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return head.eval().requires_grad_(False)


@pytest.mark.parametrize(("count", "scale"), [(5, 1.5), (10, 1.5), (10, 3.0)])
def test_head_equals_the_plain_sampler(head: DiffusionHead, count: int, scale: float) -> None:
    z, noise = torch.randn(1, 20), torch.randn(16, 7)
    other = DiffusionHead(head.net.config, num_steps=count, guidance=scale).requires_grad_(False)
    other.load_state_dict(head.state_dict())
    assert torch.allclose(other(z, noise), plain_sample(head.net, z, noise, count, scale), atol=5e-5, rtol=1e-5)


def test_no_guidance_equals_a_scale_of_one(head: DiffusionHead) -> None:
    """Half the network rows, the same numbers: at scale 1 the unconditional half cancels."""
    z, noise = torch.randn(1, 20), torch.randn(16, 7)
    plain = DiffusionHead(head.net.config, guidance=1.0).requires_grad_(False)
    plain.load_state_dict(head.state_dict())
    assert not plain.is_guided and plain.macs() * 2 == head.macs()
    assert torch.allclose(plain(z, noise), plain_sample(head.net, z, noise, 10, 1.0), atol=5e-5, rtol=1e-5)
    assert not torch.allclose(plain(z, noise), head(z, noise), atol=1e-2)


def test_two_heads_in_one_process_keep_their_own_steps(head: DiffusionHead) -> None:
    """The published code caches its first sampler and ignores later step counts."""
    z, noise = torch.randn(1, 20), torch.randn(16, 7)
    five = DiffusionHead(head.net.config, num_steps=5).requires_grad_(False)
    five.load_state_dict(head.state_dict())
    ten = head(z, noise)
    assert not torch.allclose(five(z, noise), ten, atol=1e-3) and torch.equal(head(z, noise), ten)


def test_macs_of_the_base_size_are_the_published_ones() -> None:
    with torch.device("meta"):
        net = DiT(DIT_SIZES["DiT-B"])
    assert net.macs() == pytest.approx(1.453e9, rel=5e-3)


# --- the noise ------------------------------------------------------------------------------------------------------


def test_noise_depends_on_seed_and_step_alone() -> None:
    first = episode_noise(7, 3, (16, 7))
    torch.manual_seed(99)
    assert torch.equal(first, episode_noise(7, 3, (16, 7)))
    others = [episode_noise(*key, (16, 7)) for key in ((7, 4), (8, 3), (3, 7))]
    assert all(not torch.equal(first, other) for other in others)
    assert abs(float(episode_noise(0, 0, (10_000,)).std()) - 1) < 0.03


@pytest.mark.parametrize("key", [(-1, 0), (0, -1)])
def test_negative_seeds_are_refused(key: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected a seed and a step >= 0"):
        episode_noise(*key, (16, 7))


# --- the oracle's network and samples ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def oracle_net(oracle_folder: Path) -> dict[str, Any]:
    sizes = json.loads((oracle_folder / "sizes.json").read_text())["dit"]
    file = oracle_folder / "checkpoint" / "checkpoints" / "CogACT-Tiny.pt"
    state = torch.load(file, weights_only=True, mmap=True)["model"]["action_model"]
    config = DiTConfig(
        sizes["hidden_size"], sizes["depth"], sizes["num_heads"], sizes["token_size"], mlp_ratio=sizes["mlp_ratio"]
    )
    return {"config": config, "state": {k: v for k, v in state.items() if "history_embedder" not in k}}


def oracle_head(oracle_net: dict[str, Any], count: int, scale: float) -> DiffusionHead:
    head = DiffusionHead(oracle_net["config"], num_steps=count, guidance=scale).requires_grad_(False)
    head.load_state_dict(oracle_net["state"])
    return head


def test_network_is_the_oracles(oracle: Mapping[str, Tensor], oracle_net: dict[str, Any]) -> None:
    net = oracle_head(oracle_net, 10, 1.5).net
    z = oracle["net.z"][:, 0]
    assert torch.allclose(net.t_embedder(oracle["net.t"]), oracle["net.t_embed"], atol=2e-5)
    assert torch.allclose(net.z_embedder(z), oracle["net.z_embed"][:, 0], atol=2e-5)
    assert torch.allclose(net(oracle["net.x"], oracle["net.t"], z), oracle["net.out"], atol=2e-5)


@pytest.mark.parametrize(("count", "scale"), SAMPLES)
def test_trajectory_is_the_oracles(
    oracle: Mapping[str, Tensor], oracle_net: dict[str, Any], count: int, scale: float
) -> None:
    head, prefix = oracle_head(oracle_net, count, scale), f"sample0.ddim{count}.cfg{scale}."
    assert list(head.schedule.timesteps) == oracle[prefix + "timesteps"].tolist()
    assert torch.allclose(head(oracle["sample0.z"], oracle["sample0.noise"][0]), oracle[prefix + "out"][0], atol=5e-5)
    x = oracle["sample0.noise"][0]
    for k, bars in enumerate(zip(head.schedule.alpha_bars, head.schedule.previous_alpha_bars, strict=True)):
        x, clean = ddim_step(x, oracle[prefix + "eps"][k], *bars)
        assert torch.allclose(clean, oracle[prefix + "x0"][k], atol=5e-5)
        assert torch.allclose(x, oracle[prefix + "x"][k], atol=5e-5)
