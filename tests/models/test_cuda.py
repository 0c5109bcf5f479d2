"""The same calls on a GPU: events as clock, and results equal to the CPU's within float32 rounding."""

from __future__ import annotations

import pytest
import torch

from tests.models.twins import loaded, observation, small
from vlacache.core.policies import CACHE_POLICIES, build_cache_policy
from vlacache.models.factory import ModelConfig, load_model
from vlacache.models.policy import CachedPolicy
from vlacache.models.tiny import TINY_MODELS
from vlacache.types import STAGES

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.parametrize("model", sorted(TINY_MODELS))
@pytest.mark.parametrize("cache", sorted(CACHE_POLICIES))
def test_cuda_equals_cpu(model: str, cache: str) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    actions = {}
    for device in ("cpu", "cuda"):
        twin = loaded(small(TINY_MODELS[model]))
        twin.model.to(device)
        policy = CachedPolicy(twin, build_cache_policy(cache))
        policy.reset(0)
        actions[device] = torch.stack(
            [torch.from_numpy(policy.infer(observation(i, moved=i)).actions) for i in range(4)]
        )
    assert torch.allclose(actions["cpu"], actions["cuda"], atol=1e-4)


def test_events_time_the_stages() -> None:
    policy = CachedPolicy(load_model(ModelConfig("tiny_oft", device="cuda")), build_cache_policy("adaptive"))
    policy.reset(0)
    for step in range(3):
        stats = policy.infer(observation(step, size=256)).stats
        assert stats.clock == "cuda_event" and stats.peak_memory_bytes > 0
        assert sum(getattr(stats, f"{s}_ms") for s in STAGES) == pytest.approx(stats.total_ms, rel=0.02)
