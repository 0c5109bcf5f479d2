"""Training on a GPU: the loss falls, a stopped run goes on with what it stored, the CPU runs what was trained."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.models.twins import observation
from tests.train.runs import FAST, losses, trainer
from vlacache.core.policies import build_cache_policy
from vlacache.models.factory import ModelConfig, load_model
from vlacache.models.policy import CachedPolicy
from vlacache.train.demos import Demos

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.usefixtures("small_models"),
]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", ["tiny_oft", "tiny_openvla"])
def test_the_loss_falls_and_the_checkpoint_runs_on_the_cpu(
    demos: Demos, tmp_path: Path, model: str, precision: str
) -> None:
    trainer(replace(FAST, model=model, precision=precision), demos, tmp_path, device="cuda", stop_after=10).run()
    values = losses(tmp_path)
    assert len(values) == 10 and sum(values[-3:]) / 3 < 0.9 * sum(values[:2]) / 2
    policy = CachedPolicy(load_model(ModelConfig(model, checkpoint=str(tmp_path / "last"))), build_cache_policy("none"))
    policy.reset(0)
    assert all(map(math.isfinite, policy.infer(observation(0)).actions.ravel()))


def test_a_first_update_is_that_of_the_cpu(demos: Demos, tmp_path: Path) -> None:
    """Same batch, same patches, same weights: one loss, to the rounding of float32 products."""
    for device in ("cpu", "cuda"):
        trainer(FAST, demos, tmp_path / device, device=device, stop_after=1).run()
    assert losses(tmp_path / "cuda")[0] == pytest.approx(losses(tmp_path / "cpu")[0], rel=1e-3)


def test_a_stopped_run_goes_on(demos: Demos, tmp_path: Path) -> None:
    """Sums on a GPU have no fixed order, so the losses after the stop agree closely, not bit by bit."""
    config = replace(FAST, samples=48)
    trainer(config, demos, tmp_path / "straight", device="cuda").run()
    trainer(config, demos, tmp_path / "stopped", device="cuda", stop_after=3).run()
    assert trainer(config, demos, tmp_path / "stopped", device="cuda").run().step == 6
    assert losses(tmp_path / "stopped") == pytest.approx(losses(tmp_path / "straight"), rel=0.02)
