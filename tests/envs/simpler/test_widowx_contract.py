"""The env contract on SIMPLER's WidowX tasks."""

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


class TestWidowXConformance(EnvConformance):
    """The contract on the task with most bodies in contact, the sink."""

    task_id = 3

    @classmethod
    def make_env(cls, max_steps: int | None = None) -> Env:
        from runners.assets.maniskill import resolve_maniskill
        from runners.envs.simpler.runtime import prepare

        prepare()
        from runners.envs.simpler.bridge import make_widowx_env

        return make_widowx_env(cls.task_id, assets=resolve_maniskill("auto"), max_steps=max_steps)

    @staticmethod
    def read_state(env: Env) -> np.ndarray:
        episode = env.privileged()
        objects = [[*entity.pose.p, *entity.pose.q] for entity in episode.objects.values()]
        return np.concatenate([episode.robot.qpos, episode.robot.qvel, np.ravel(objects)])

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
