"""Rounding: the cached path's bfloat16 error against float32 is at most twice the dense path's, on every model.

Both errors are taken where the head reads: the hidden states of the prompt's last rows, in the same calls on the same
pictures, with the same patches reused in both dtypes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.models.twins import observation
from vlacache.bench.episode import RecordedEpisode
from vlacache.core.policies import build_cache_policy
from vlacache.models.cogact.twin import write_cogact_twin
from vlacache.models.factory import LoadedModel, ModelConfig, load_model
from vlacache.models.policy import CachedPolicy
from vlacache.models.twin import write_openvla_twin
from vlacache.types import Observation

CALLS = 5
KEYS = {"openvla": "libero_spatial", "openvla_oft": "libero_spatial", "cogact": "bridge_orig"}
MODELS = ("openvla", "openvla_oft", "cogact", "tiny_oft", "tiny_openvla")
CACHES: dict[str, dict[str, object]] = {
    "fixed_ratio": {"reuse_ratio": 0.5, "min_saving": 0.0, "max_backoff": 0},
    # Nothing but the pictures decides, so both dtypes reuse the same patches.
    "static": {"min_saving": 0.0, "max_backoff": 0},
}


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], LoadedModel]:
    """A published twin, or a checkpoint that ships, in a dtype."""
    root: Path = tmp_path_factory.mktemp("twins")
    for name in KEYS:
        write_cogact_twin(root / name) if name == "cogact" else write_openvla_twin(root / name, name)

    def loaded(name: str, dtype: str) -> LoadedModel:
        if name in KEYS:
            return load_model(ModelConfig(name, str(root / name), dtype=dtype, unnorm_key=KEYS[name]))
        return load_model(ModelConfig(name, "builtin", dtype=dtype))

    return loaded


def frames(model: LoadedModel) -> list[Observation]:
    """The recorded episode for the trained models; a moving square for the twins."""
    if model.info.weights == "trained":
        return RecordedEpisode.load().observations(model.num_open_loop_steps, model.info.views)[:CALLS]
    made = []
    for step in range(CALLS):
        seen = observation(step, size=256, moved=3 * step)
        images = dict(zip(model.info.views, seen.images.values(), strict=False))
        made.append(Observation(images, seen.instruction, seen.proprio, step))
    return made


def head_inputs(model: LoadedModel, cache: str, numbers: dict[str, object]) -> tuple[Tensor, float]:
    """float32[CALLS - 1, h, d] hidden states that the head read first in each warm call, and the mean reuse."""
    policy = CachedPolicy(model, build_cache_policy(cache, numbers))
    policy.reset(0)
    found: list[Tensor] = []
    hook = model.model.head.register_forward_pre_hook(lambda module, inputs: found.append(inputs[0].float().clone()))
    first, reuse = [], []
    for seen in frames(model):
        start = len(found)
        reuse.append(policy.infer(seen).stats.reuse_ratio)
        first.append(found[start])
    hook.remove()
    return torch.stack(first[1:]), sum(reuse[1:]) / (CALLS - 1)


@pytest.mark.parametrize("name", MODELS)
def test_the_cached_paths_error_is_at_most_twice_the_dense_ones(
    load: Callable[[str, str], LoadedModel], name: str
) -> None:
    models = {dtype: load(name, dtype) for dtype in ("float32", "bfloat16")}
    errors = {}
    for cache, numbers in {"none": {}, **CACHES}.items():
        (exact, reuse), (rounded, same_reuse) = (head_inputs(models[d], cache, dict(numbers)) for d in models)
        assert reuse == same_reuse and (reuse > 0.1) == (cache != "none")
        errors[cache] = (rounded - exact).abs().mean().item()
    assert all(0 < errors[cache] <= 2 * errors["none"] for cache in CACHES), errors
