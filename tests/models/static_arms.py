"""Arms whose calls are captured (or only padded) on a CPU, and their eager reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from tests.models.twins import observation
from vlacache.core.policies import build_cache_policy
from vlacache.models.factory import LoadedModel
from vlacache.models.policy import CachedPolicy
from vlacache.models.runtime import StaticRuntime
from vlacache.models.runtime.graphs import Recorder
from vlacache.types import ActionChunk, Observation

EAGER_TO_REUSE: dict[str, object] = {
    "min_saving": 0.0,
    "max_backoff": 0,
    "dense_below_speed": None,
    "dense_at_grip": False,
}
NUMBERS: dict[str, dict[str, object]] = {
    "none": {},
    "adaptive": {"tau": 0.5, "task_top_k": 64, "max_age": 2, **EAGER_TO_REUSE},
    "paper": {"tau": 0.5, **EAGER_TO_REUSE},
    "official": {"tau": 0.5, **EAGER_TO_REUSE},
    "static": {"tau": 0.99, "top_k": 200, **EAGER_TO_REUSE},
    "static_task": {"tau": 0.9, "first_layer": 8, **EAGER_TO_REUSE},
    "fixed_ratio": {"reuse_ratio": 0.6, **EAGER_TO_REUSE},
    "random": {"reuse_ratio": 0.3, "first_layer": 20, **EAGER_TO_REUSE},
}
MOVES = (0, 3, 3, 30, 12, 5)


def seen(model: LoadedModel, step: int, instruction: str = "pick up the bowl") -> Observation:
    """The same pictures for every model, under its own camera names."""
    picture = observation(step, size=56, instruction=instruction, moved=MOVES[step])
    images = dict(zip(model.info.views, picture.images.values(), strict=False))
    return replace(picture, images=images)


def make_arm(model: LoadedModel, cache: str, recorder: Recorder | None, row_bucket: int = 8) -> CachedPolicy:
    """``recorder`` None: the eager reference."""
    arm = CachedPolicy(model, build_cache_policy(cache, NUMBERS[cache]))
    if recorder is not None:
        use_static(arm, recorder, row_bucket)
    arm.reset(0)
    return arm


def use_static(arm: CachedPolicy, recorder: Recorder, row_bucket: int) -> StaticRuntime:
    runtime = StaticRuntime(arm.loaded.model, recorder, row_bucket=row_bucket)
    arm.runtime, arm._decoder._step = runtime, runtime.decode_token
    return runtime


def check_equal(ours: CachedPolicy, eager: CachedPolicy, found: ActionChunk, expected: ActionChunk) -> None:
    assert np.allclose(found.actions, expected.actions, rtol=0, atol=1e-5)
    assert found.trace is not None and expected.trace is not None
    assert np.array_equal(found.trace.reused_layers, expected.trace.reused_layers)
    assert found.stats.macs == expected.stats.macs, "padding was counted as work"
    assert found.stats.accepted_tokens == expected.stats.accepted_tokens
    a, b = ours.session, eager.session
    used = b.kv.capacity
    assert a.kv.capacity == used + 1
    # Slots after the prompt hold drafts; those of rejected ones that were not fed back may differ.
    n = expected.stats.num_prompt_tokens
    assert torch.allclose(a.kv.k[:, :, :n], b.kv.k[:, :, :n], atol=2e-5)
    assert torch.allclose(a.kv.v[:, :, :n], b.kv.v[:, :, :n], atol=2e-5)
    for left, right in ((a.entropies, b.entropies), (a._scores, b._scores)):
        assert (left is None) == (right is None)
        assert left is None or right is None or torch.allclose(left, right, atol=1e-5)
