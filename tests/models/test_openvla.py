"""OpenVLA and OFT on twins in the published file formats: against a plain implementation, and with every cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.models.plain_openvla import PlainOpenVLA
from tests.models.twins import observation
from vlacache.core.policies import CACHE_POLICIES, build_cache_policy
from vlacache.models.factory import LoadedModel, ModelConfig, load_model
from vlacache.models.heads import detokenize, gripper_to_robosuite, normalize, unnormalize
from vlacache.models.policy import CachedPolicy
from vlacache.models.preprocess import crop_centre, jpeg_round_trip, resize_lanczos
from vlacache.models.tokenizer import SPACE_ID, prompt_text
from vlacache.models.twin import write_openvla_twin
from vlacache.types import LIBERO_ACTION_SPEC, Observation

NAMES = ("openvla", "openvla_oft")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {name: tmp_path_factory.mktemp("twins") / name for name in NAMES}
    for name, folder in made.items():
        write_openvla_twin(folder, name)
    return made


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, LoadedModel]:
    return {
        name: load_model(ModelConfig(name, str(folder), dtype="float32", unnorm_key="libero_spatial"))
        for name, folder in folders.items()
    }


@pytest.fixture(params=NAMES)
def loaded(request: pytest.FixtureRequest, models: dict[str, LoadedModel]) -> LoadedModel:
    return models[request.param]


def tower_input(picture: np.ndarray) -> Tensor:
    """The published LIBERO steps at the twin's size."""
    frames = torch.from_numpy(jpeg_round_trip(picture)).permute(2, 0, 1)[None]
    return crop_centre(resize_lanczos(frames, 56))[0].permute(1, 2, 0)


def prompt_ids(loaded: LoadedModel, instruction: str) -> list[int]:
    return loaded.tokenizer.encode(prompt_text(loaded.model.config.prompt, instruction))


def expected_actions(folder: Path, loaded: LoadedModel, seen: Observation) -> np.ndarray:
    """From the observation to robosuite actions by the plain implementation."""
    plain, config = PlainOpenVLA(folder), loaded.model.config
    pictures = [tower_input(seen.images[view]) for view in config.views]
    ids = prompt_ids(loaded, seen.instruction)
    if config.head == "token_bins":
        tokens = plain.openvla_tokens(pictures[0], ids)
        values = detokenize(np.array(tokens), 32000, 256)[None]
    else:
        assert seen.proprio is not None
        state = normalize(torch.from_numpy(seen.proprio).double(), config.proprio_low, config.proprio_high)
        values = plain.oft_actions(pictures, ids, state).numpy()
    actions = unnormalize(values, config.action_low, config.action_high, config.action_mask, config.action_epsilon)
    actions[:, -1] = gripper_to_robosuite(actions[:, -1])
    return actions


@pytest.mark.parametrize("cache", ["none", "adaptive"])
def test_actions_equal_the_plain_implementation(loaded: LoadedModel, folders, cache: str) -> None:
    """Whole calls in closed loop; with a cache, the cold call of each episode."""
    policy = CachedPolicy(loaded, build_cache_policy(cache))
    for step, moved in enumerate([0, 9, 30]):
        policy.reset(0)
        seen = observation(step, size=256, moved=moved)
        want = expected_actions(folders[loaded.info.name], loaded, seen)
        np.testing.assert_allclose(policy.infer(seen).actions, want, rtol=0, atol=2e-5)


def test_vision_tokens_equal_the_plain_implementation(loaded: LoadedModel, folders) -> None:
    pictures = [tower_input(p) for p in observation(size=256).images.values()][: len(loaded.model.config.views)]
    want = PlainOpenVLA(folders[loaded.info.name]).vision(pictures)
    with torch.no_grad():
        found = loaded.model.vision(torch.stack(pictures).permute(0, 3, 1, 2))
    torch.testing.assert_close(found.double(), want, atol=2e-5, rtol=0)


def test_logits_equal_the_plain_implementation(models, folders) -> None:
    model, ids = models["openvla"].model, [1, 40, 300, 29901, SPACE_ID, 31850]
    picture = tower_input(observation(size=256).images["agentview"])
    want = PlainOpenVLA(folders["openvla"]).openvla_logits(picture, ids)
    with torch.no_grad():
        found = model(picture.permute(2, 0, 1)[None, None], torch.tensor([ids]))[0]
    torch.testing.assert_close(found.double(), want, atol=5e-5, rtol=0)


def test_oft_attends_both_ways_and_openvla_does_not(models) -> None:
    """The stop token at the end moves an early image token's hidden state in OFT alone."""
    for name, moves in (("openvla", False), ("openvla_oft", True)):
        model = models[name].model
        x = torch.randn(1, 60, 64, generator=torch.Generator().manual_seed(0))
        other = x.clone()
        other[0, -1] += 1.0
        with torch.no_grad():
            a, b = (model.decoder(e, causal=model.config.causal)[0, 5] for e in (x, other))
        assert bool((a - b).abs().max() > 1e-4) is moves


def run(policy: CachedPolicy, steps: list[int]) -> np.ndarray:
    policy.reset(0)
    return np.stack([policy.infer(observation(i, size=256, moved=m)).actions for i, m in enumerate(steps)])


@pytest.mark.parametrize("cache", sorted(CACHE_POLICIES))
def test_every_cache_policy_runs(loaded: LoadedModel, cache: str) -> None:
    """A cold call is the dense one; later calls reuse, and every action is finite and in range."""
    dense = run(CachedPolicy(loaded, build_cache_policy("none")), [0, 0, 1, 30])
    policy = CachedPolicy(loaded, build_cache_policy(cache))
    ours = run(policy, [0, 0, 1, 30])
    assert np.array_equal(dense[0], ours[0]) and np.isfinite(ours).all()
    np.testing.assert_allclose(dense[1], ours[1], rtol=0, atol=2e-5)  # the same picture again: nothing is stale
    assert policy.action_spec == LIBERO_ACTION_SPEC
    assert set(np.unique(ours[..., -1])) <= {-1.0, 0.0, 1.0}


def test_reuse_nothing_is_bit_equal_to_no_cache(loaded: LoadedModel) -> None:
    nothing = {"reuse_ratio": 0.0, "min_saving": 0.0, "max_backoff": 0}
    a = run(CachedPolicy(loaded, build_cache_policy("none")), [0, 4, 20])
    b = run(CachedPolicy(loaded, build_cache_policy("fixed_ratio", nothing)), [0, 4, 20])
    assert np.array_equal(a, b)


def test_reuse_is_real_and_can_do_harm(loaded: LoadedModel) -> None:
    """With everything reused the picture's change does not arrive; without, it does."""
    stale = CachedPolicy(loaded, build_cache_policy("fixed_ratio", {"reuse_ratio": 1.0}))
    stale.reset(0)
    first = stale.infer(observation(0, size=256)).actions
    second = stale.infer(observation(1, size=256, moved=40))
    assert second.stats.reuse_ratio == 1.0
    np.testing.assert_allclose(second.actions, first, rtol=0, atol=2e-5)
    dense = run(CachedPolicy(loaded, build_cache_policy("none")), [0, 40])
    assert np.abs(dense[1] - dense[0]).max() > 1e-3


def test_bf16_error_of_the_cached_path_is_at_most_twice_the_dense_paths(folders) -> None:
    """OFT's regressed actions against float32: half of the patches reused, and none."""
    error = {}
    for cache, numbers in (("none", {}), ("fixed_ratio", {"reuse_ratio": 0.5})):
        actions = {}
        for dtype in ("float32", "bfloat16"):
            config = ModelConfig("openvla_oft", str(folders["openvla_oft"]), dtype=dtype, unnorm_key="libero_spatial")
            actions[dtype] = run(CachedPolicy(load_model(config), build_cache_policy(cache, numbers)), [0, 2, 4, 6])
        error[cache] = np.abs(actions["bfloat16"][1:, :, :6] - actions["float32"][1:, :, :6]).mean()
    assert 0 < error["fixed_ratio"] <= 2 * error["none"]


def test_bfloat16_weights_keep_float32_normalisation(folders) -> None:
    """Pixels are scaled in float32 and rounded once, as by the published processor."""
    config = ModelConfig("openvla", str(folders["openvla"]), dtype="bfloat16", unnorm_key="libero_10")
    model = load_model(config).model
    frames = torch.randint(0, 256, (1, 3, 56, 56), dtype=torch.uint8)
    tower = model.config.towers[0]
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (tower.mean, tower.std))
    exact = ((frames.double() / 255 - mean) / std).to(torch.bfloat16)
    found = model.vision.normalized(frames.to(torch.bfloat16), 0)
    assert found.dtype == torch.bfloat16 and (found != exact).float().mean() < 0.01


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_are_not_finite_raise(folders, name: str) -> None:
    """NaN logits would still have an argmax: the policy must not answer with it."""
    config = ModelConfig(name, str(folders[name]), dtype="float32", unnorm_key="libero_spatial")
    loaded = load_model(config)
    loaded.model.decoder.norm.weight[3] = float("nan")
    policy = CachedPolicy(loaded, build_cache_policy("none"))
    policy.reset(0)
    with pytest.raises(RuntimeError, match=r"expected finite (logits, got \[nan|actions, got 56 of 56)"):
        policy.infer(observation(size=256))


def test_pictures_that_do_not_fit_are_refused(loaded: LoadedModel) -> None:
    policy = CachedPolicy(loaded, build_cache_policy("none"))
    seen = observation(size=256)
    as_float = {view: p.astype(np.float32) / 255 for view, p in seen.images.items()}
    grey = {view: p[..., 0] for view, p in seen.images.items()}
    oblong = {view: p[:200] for view, p in seen.images.items()}
    small = {view: p[:48, :48] for view, p in seen.images.items()}
    square = "square pictures of at least 56 px"
    for images, message in (
        (as_float, "expected uint8"), (grey, "expected uint8"), ({}, "camera 'agentview'"), (oblong, square),
        (small, square),
    ):  # fmt: skip
        policy.reset(0)
        with pytest.raises(ValueError, match=message):
            policy.infer(replace(seen, images=images))
