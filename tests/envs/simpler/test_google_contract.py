"""The env contract on SIMPLER's Google robot tasks."""

from __future__ import annotations

import os

import numpy as np
import pytest

from runners.envs.base import Env
from tests.conformance import EnvConformance

pytestmark = [
    pytest.mark.simpler,
    pytest.mark.skipif(not os.environ.get("VLACACHE_ASSETS_DIR"), reason="VLACACHE_ASSETS_DIR is not set"),
]


class GoogleConformance(EnvConformance):
    """What the tasks share; a subclass names its task."""

    suite = "simpler_google_vm"
    task_id: int

    @classmethod
    def make_env(cls, max_steps: int | None = None) -> Env:
        from runners.assets.maniskill import resolve_maniskill
        from runners.envs.simpler.runtime import prepare

        prepare()
        from runners.envs.simpler.google import make_google_env

        return make_google_env(cls.suite, cls.task_id, assets=resolve_maniskill("auto"), max_steps=max_steps)

    @staticmethod
    def read_state(env: Env) -> np.ndarray:
        episode = env.privileged()
        objects = [[*entity.pose.p, *entity.pose.q] for entity in episode.objects.values()]
        drawers = [] if episode.cabinet is None else [episode.cabinet.opening(d) for d in ("top", "middle", "bottom")]
        return np.concatenate([episode.robot.qpos, episode.robot.qvel, np.ravel(objects), drawers])

    @pytest.fixture
    def renders(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        from runners.envs.simpler import picture

        log: list[str] = []
        draw = picture.Canvas.draw

        def counted(self, look, poses):
            log.append(look.camera.name)
            return draw(self, look, poses)

        monkeypatch.setattr(picture.Canvas, "draw", counted)
        return log


class TestPick(GoogleConformance):
    task_id = 0


class TestPlace(GoogleConformance):
    """The task with everything: cabinet, object, two instructions."""

    task_id = 10


class TestVariantAggregation(GoogleConformance):
    suite = "simpler_google_va"
    task_id = 4
