"""The env contract on SIMPLER's WidowX tasks."""

from __future__ import annotations

import numpy as np
import pytest

from runners.assets.maniskill import ManiSkillAssets
from runners.envs.base import Env
from tests.conformance import EnvConformance

pytestmark = pytest.mark.simpler


class SimplerConformance(EnvConformance):
    """The contract on a SIMPLER suite; subclasses choose the task and its builder."""

    assets: ManiSkillAssets
    task_id = 0

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def resolved(cls, maniskill: ManiSkillAssets) -> None:
        """Keep the assets where ``make_env`` finds them."""
        cls.assets = maniskill

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


class WidowXConformance(SimplerConformance):
    """The contract on a WidowX task."""

    @classmethod
    def make_env(cls, max_steps: int | None = None) -> Env:
        from runners.envs.simpler.bridge import make_widowx_env

        return make_widowx_env(cls.task_id, assets=cls.assets, max_steps=max_steps)

    @staticmethod
    def read_state(env: Env) -> np.ndarray:
        episode = env.privileged()
        objects = [[*entity.pose.p, *entity.pose.q] for entity in episode.objects.values()]
        return np.concatenate([episode.robot.qpos, episode.robot.qvel, np.ravel(objects)])


class TestSpoonConformance(WidowXConformance):
    """On the table."""

    task_id = 0


class TestCarrotConformance(WidowXConformance):
    """With the rule that looks at all contacts of the source."""

    task_id = 1


class TestCubesConformance(WidowXConformance):
    """With the objects of the other info file."""

    task_id = 2


class TestEggplantConformance(WidowXConformance):
    """In the sink, with most bodies in contact."""

    task_id = 3


class TestManiSkillProtocolConformance(SimplerConformance):
    """ManiSkill's own task behind the same contract."""

    task_id = 1

    @classmethod
    def make_env(cls, max_steps: int | None = None) -> Env:
        from runners.envs.simpler.maniskill_protocol import make_maniskill_env

        return make_maniskill_env(cls.task_id, assets=cls.assets, max_steps=max_steps or 60)

    @pytest.fixture
    def renders(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        from runners.envs.simpler import maniskill_protocol

        log: list[str] = []
        frame = maniskill_protocol.ManiSkillEpisode.frame

        def counted(self):
            log.append("frame")
            return frame(self)

        monkeypatch.setattr(maniskill_protocol.ManiSkillEpisode, "frame", counted)
        return log
