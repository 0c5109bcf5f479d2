"""CogACT on a twin in its native file format: against a plain implementation, dense and with every cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tests.models.cogact.plain import PlainCogACT, StoredKV
from tests.models.plain_openvla import rope, split
from vlacache.core.policies import CACHE_POLICIES, build_cache_policy
from vlacache.models.cogact.diffusion import episode_noise
from vlacache.models.cogact.head import DiffusionHead
from vlacache.models.cogact.postprocess import EpisodePostprocess
from vlacache.models.factory import LoadedModel, ModelConfig, load_model
from vlacache.models.policy import CachedPolicy
from vlacache.models.tokenizer import prompt_text
from vlacache.types import SIMPLER_WIDOWX_ACTION_SPEC, Observation

CAMERA, INSTRUCTION = "3rd_view_camera", "put the spoon on the towel"
SEED = 5
ATOL = 2e-5


def picture(moved: int) -> NDArray[np.uint8]:
    image = np.random.default_rng(0).integers(40, 200, (96, 128, 3), dtype=np.uint8)
    image[20:60, 10 + moved : 50 + moved] = 250
    return image


def resized(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.array(Image.fromarray(image).resize((56, 56), Image.Resampling.BICUBIC))


def seen(step: int, moved: int, instruction: str = INSTRUCTION) -> Observation:
    return Observation({CAMERA: picture(moved)}, instruction, None, step)


def close(found: Tensor, wanted: Tensor, atol: float = ATOL) -> None:
    torch.testing.assert_close(found.reshape(wanted.shape), wanted.to(found.dtype), atol=atol, rtol=0.0)


def load(folder: Path, **options: object) -> LoadedModel:
    return load_model(ModelConfig("cogact", str(folder), unnorm_key="bridge_orig", **options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def loaded(twin_folder: Path) -> LoadedModel:
    return load(twin_folder, dtype="float32")


@pytest.fixture(scope="module")
def plain(twin_folder: Path) -> PlainCogACT:
    return PlainCogACT(twin_folder)


def policy_of(loaded: LoadedModel, cache: str = "none", **numbers: object) -> CachedPolicy:
    policy = CachedPolicy(loaded, build_cache_policy(cache, numbers))
    policy.reset(SEED)
    return policy


class PlainEpisode:
    """The commands of an episode, everything plain but the post-processing (tested by itself)."""

    def __init__(self, plain: PlainCogACT, loaded: LoadedModel) -> None:
        self.plain, self.loaded, self.store = plain, loaded, StoredKV()
        self.post = EpisodePostprocess(loaded.model.config)

    def command(self, step: int, moved: int, reused_layers: NDArray[np.uint8]) -> NDArray[np.float64]:
        config = self.loaded.model.config
        ids = self.loaded.tokenizer.encode(prompt_text(config.prompt, INSTRUCTION))
        layers, num_patches = config.decoder.num_layers, reused_layers.size
        is_reused = torch.zeros(layers, len(ids) + num_patches, dtype=torch.bool)
        for patch, count in enumerate(reused_layers.tolist()):
            is_reused[layers - count :, 1 + patch] = True
        z = self.plain.cognition(torch.from_numpy(resized(picture(moved))), ids, self.store.reusing(is_reused))
        samples = self.plain.sample(z, episode_noise(SEED, step, (16, 7)))
        return self.post.command(samples.numpy(), INSTRUCTION)


# --- twin: plain implementation -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cache", "numbers"),
    [
        ("none", {}),
        ("fixed_ratio", {"reuse_ratio": 0.5, "min_saving": 0.0, "max_backoff": 0}),
        ("fixed_ratio", {"reuse_ratio": 1.0, "min_saving": 0.0, "max_backoff": 0}),
        ("adaptive", {"min_saving": 0.0, "max_backoff": 0, "dense_below_speed": None, "dense_at_grip": False}),
        ("official", {"min_saving": 0.0, "max_backoff": 0}),
    ],
)
def test_an_episode_equals_the_plain_one(
    loaded: LoadedModel, plain: PlainCogACT, cache: str, numbers: dict[str, float]
) -> None:
    """From pixels to commands over four calls; reused K/V rows are overwritten by the stored ones in the plain run."""
    policy, reference = policy_of(loaded, cache, **numbers), PlainEpisode(plain, loaded)
    ratios = []
    for step, moved in enumerate((0, 2, 8, 40)):
        chunk = policy.infer(seen(step, moved))
        assert chunk.trace is not None and chunk.actions.shape == (1, 7)
        expected = reference.command(step, moved, chunk.trace.reused_layers)
        assert np.allclose(chunk.actions[0], expected, rtol=0, atol=ATOL)
        ratios.append(chunk.stats.reuse_ratio)
    assert ratios[0] == 0.0 and (max(ratios) > 0.2) is (cache != "none")


def test_stale_keys_change_the_command(loaded: LoadedModel) -> None:
    """The test bed can show harm, so the equality above is not about numbers that nothing moves."""
    stale = policy_of(loaded, "fixed_ratio", reuse_ratio=1.0, min_saving=0.0)
    dense = policy_of(loaded)
    for step, moved in enumerate((0, 40)):
        a, b = stale.infer(seen(step, moved)), dense.infer(seen(step, moved))
    assert not np.allclose(a.actions, b.actions, atol=1e-4)


@pytest.mark.parametrize("cache", sorted(CACHE_POLICIES))
def test_every_policy_starts_from_the_same_noise(loaded: LoadedModel, cache: str) -> None:
    """A cold call is bit-equal in both arms of a pair, and so is any call that reuses nothing."""
    ours, none = policy_of(loaded, cache), policy_of(loaded)
    for step in range(3):
        a, b = ours.infer(seen(step, step)), none.infer(seen(step, step))
        assert np.isfinite(a.actions).all()
        assert step > 0 or np.array_equal(a.actions, b.actions)


def test_a_run_can_be_repeated_and_another_seed_is_another_run(loaded: LoadedModel) -> None:
    policy = policy_of(loaded)
    first = [policy.infer(seen(step, step)).actions for step in range(3)]
    policy.reset(SEED)
    torch.manual_seed(123)
    again = [policy.infer(seen(step, step)).actions for step in range(3)]
    policy.reset(SEED + 1)
    other = [policy.infer(seen(step, step)).actions for step in range(3)]
    assert np.array_equal(first, again) and not np.allclose(first[0], other[0], atol=1e-3)


def test_only_the_cognition_row_is_read_for_relevance(loaded: LoadedModel) -> None:
    layout = loaded.model.layout(12)
    readout = policy_of(loaded, "official").session.readout(layout, causal=True)
    assert readout is not None and readout.request.relevance_rows.tolist() == [layout.num_tokens - 1]


class Recorder(PlainCogACT):
    """The plain model, noting what its linear layers give."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.outputs: dict[str, Tensor] = {}

    def linear(self, x: Tensor, key: str) -> Tensor:
        self.outputs[key] = super().linear(x, key)
        return self.outputs[key]


def test_relevance_is_the_cognition_tokens_attention(loaded: LoadedModel, twin_folder: Path) -> None:
    """Scores that the session keeps are the softmax row of the last token at the relevance layer, mean over heads."""
    policy, plain = policy_of(loaded, "static_task"), Recorder(twin_folder)
    policy.infer(seen(0, 0))
    config, heads = loaded.model.config, plain.config["num_attention_heads"]
    ids = loaded.tokenizer.encode(prompt_text(config.prompt, INSTRUCTION))
    plain.cognition(torch.from_numpy(resized(picture(0))), ids, lambda layer, k, v: (k, v))
    (layer,) = policy.cache.relevance_layers(config.decoder.num_layers)
    q, k = (
        split(rope(plain.outputs[f"language_model.model.layers.{layer}.self_attn.{p}_proj"], heads), heads)
        for p in "qk"
    )
    attention = (q[:, -1:] @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)
    scores = policy.session._scores
    assert scores is not None
    close(scores, attention.mean(dim=(0, 1))[1:17], atol=1e-6)


def test_bf16_keeps_the_denoiser_in_float32(twin_folder: Path) -> None:
    model = load(twin_folder, dtype="bfloat16").model
    assert model.dtype == torch.bfloat16
    assert {p.dtype for p in model.head.parameters()} == {torch.float32}


def test_bf16_error_of_the_cached_path_is_at_most_twice_the_dense_one(twin_folder: Path, loaded: LoadedModel) -> None:
    """Cached bf16 against cached fp32 in units of dense bf16 against dense fp32, at the features the head gets."""
    errors = {}
    for cache, numbers in (("none", {}), ("fixed_ratio", {"reuse_ratio": 0.5, "min_saving": 0.0, "max_backoff": 0})):
        features = {}
        for dtype in ("float32", "bfloat16"):
            model = loaded if dtype == "float32" else load(twin_folder, dtype=dtype)
            features[dtype] = features_of(policy_of(model, cache, **numbers))
        errors[cache] = (features["bfloat16"] - features["float32"]).abs().mean()
    assert 0 < errors["fixed_ratio"] <= 2 * errors["none"]


def features_of(policy: CachedPolicy) -> Tensor:
    """What the head was given in four calls, float32[4, d]."""
    found: list[Tensor] = []
    head = policy.loaded.model.head
    hook = head.register_forward_pre_hook(lambda module, inputs: found.append(inputs[0].float()))
    for step in range(4):
        policy.infer(seen(step, 2 * step))
    hook.remove()
    return torch.cat(found)


def test_the_policy_declares_its_robot(loaded: LoadedModel) -> None:
    policy = policy_of(loaded)
    assert policy.action_spec == SIMPLER_WIDOWX_ACTION_SPEC and policy.cameras == (CAMERA,)
    assert policy.num_open_loop_steps == 1


def test_a_new_instruction_starts_the_ensemble_afresh(loaded: LoadedModel) -> None:
    used, fresh = policy_of(loaded), policy_of(loaded)
    for step in range(3):
        used.infer(seen(step, step))
    other = seen(3, 3, "stack the green block")
    assert np.array_equal(used.infer(other).actions, fresh.infer(other).actions)


def test_costs_are_counted(loaded: LoadedModel) -> None:
    stats = policy_of(loaded).infer(seen(0, 0)).stats
    head = loaded.model.head
    assert isinstance(head, DiffusionHead)
    assert stats.macs == stats.prefill_macs + loaded.model.vision.macs(1) + head.macs()
    assert stats.action_head_ms > 0 and stats.decode_ms == 0
