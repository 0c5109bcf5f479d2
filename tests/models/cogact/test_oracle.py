"""CogACT as a whole against what the published code computes on a tiny checkpoint in the native format (fp32, CPU)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vlacache.core.policies import build_cache_policy
from vlacache.models.factory import LoadedModel, ModelConfig, load_model
from vlacache.models.policy import CachedPolicy
from vlacache.models.preprocess import frames_from_observation
from vlacache.models.prismatic import VLAModel
from vlacache.types import Observation

ATOL = 2e-5


def close(found: Tensor, wanted: Tensor, atol: float = ATOL) -> None:
    torch.testing.assert_close(found.reshape(wanted.shape), wanted, atol=atol, rtol=0.0)


@pytest.fixture(scope="module")
def oracle_model(
    tmp_path_factory: pytest.TempPathFactory, oracle_folder: Path, oracle: Mapping[str, Tensor]
) -> LoadedModel:
    """The oracle's checkpoint with its sizes beside it, in place of a tokenizer the oracle's ids."""
    folder = tmp_path_factory.mktemp("oracle") / "cogact"
    shutil.copytree(oracle_folder / "checkpoint", folder)
    shutil.copyfile(oracle_folder / "sizes.json", folder / "sizes.json")
    ids = tuple(oracle["policy0.input_ids_prompt"][0].tolist())
    config = ModelConfig("cogact", str(folder), dtype="float32", unnorm_key="fractal20220817_data", input_ids=ids)
    return load_model(config)


def oracle_frames(model: VLAModel, oracle: Mapping[str, Tensor]) -> Tensor:
    camera = model.config.views[0]
    observation = Observation({camera: oracle["policy0.image_u8"].numpy()}, "", None, 0)
    size, steps = model.config.towers[0].image_size, model.config.image_steps
    return frames_from_observation(observation, (camera,), size, steps)


def test_ids_end_with_the_cognition_token(oracle_model: LoadedModel, oracle: Mapping[str, Tensor]) -> None:
    assert oracle_model.tokenizer.encode("anything") == oracle["policy0.input_ids_full"][0].tolist()


@torch.inference_mode()
def test_vlm_is_the_oracles(oracle_model: LoadedModel, oracle: Mapping[str, Tensor]) -> None:
    model, ids = oracle_model.model, oracle["policy0.input_ids_full"]
    frames = oracle_frames(model, oracle).float()
    pixels = torch.cat([model.vision.normalized(frames, tower) for tower in (0, 1)], dim=1)
    close(pixels, oracle["policy0.pixel_values"], atol=1e-6)
    tokens = model.vision(frames[None])
    close(tokens, oracle["policy0.projector"])
    x = model.assemble(tokens, ids, None)
    cos, sin = (table[: x.shape[1]] for table in model.decoder.rope(x.shape[1], x))
    close(x, oracle["policy0.hidden.0"])
    for index, layer in enumerate(model.decoder.layers):
        x = layer(x, cos, sin, causal=True)
        if f"policy0.hidden.{index + 1}" in oracle:
            close(x, oracle[f"policy0.hidden.{index + 1}"])
    close(model.decoder.norm(x), oracle["policy0.hidden.final_norm"])
    close(model(frames[None], ids), oracle["policy0.cognition"])


@torch.inference_mode()
def test_a_whole_call_is_the_oracles(
    oracle_model: LoadedModel, oracle: Mapping[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Picture in, first action out, through the cached policy, with the oracle's noise."""
    noise = oracle["policy0.noise"][0]
    monkeypatch.setattr("vlacache.models.policy.episode_noise", lambda *key: noise)
    samples: list[Tensor] = []
    hook = oracle_model.model.head.register_forward_hook(lambda module, inputs, output: samples.append(output))
    camera = oracle_model.model.config.views[0]
    policy = CachedPolicy(oracle_model, build_cache_policy("none"))
    chunk = policy.infer(Observation({camera: oracle["policy0.image_u8"].numpy()}, "anything", None, 0))
    hook.remove()
    close(samples[0], oracle["policy0.samples"][0], atol=5e-5)
    expected = oracle["policy0.actions"][0].numpy()
    assert np.allclose(chunk.actions[0, :3], expected[:3], rtol=0, atol=ATOL)
    assert chunk.actions[0, 6] == 0.0  # the first step's relative gripper command
