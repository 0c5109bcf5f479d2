"""One episode's way from sampled chunks to commands: clip, de-normalise, ensemble, rotation, gripper."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vlacache.models.cogact.actions import clip_and_binarize
from vlacache.models.cogact.ensemble import AdaptiveEnsemble
from vlacache.models.config import VLAConfig
from vlacache.models.heads import unnormalize
from vlacache.models.robots import ROBOTS, RobotCommands, StickyGripper


class EpisodePostprocess:
    """State that lasts an episode, or until the instruction changes (CogACT's SIMPLER policy).

    Raises:
        ValueError: a config without robot.
    """

    def __init__(self, config: VLAConfig) -> None:
        if config.robot is None:
            raise ValueError(f"{config.name}: expected a robot whose ensemble and gripper rules apply, got None")
        robot = ROBOTS[config.robot]
        self._config = config
        self._ensemble = AdaptiveEnsemble(robot.ensemble_horizon)
        self._commands = RobotCommands(robot, StickyGripper())
        self._instruction: str | None = None

    @property
    def gripper(self) -> StickyGripper | None:
        """Of a robot with a sticky one."""
        return self._commands.gripper

    def reset(self) -> None:
        """Forget the episode."""
        self._ensemble.reset()
        self._commands.reset()
        self._instruction = None

    def command(self, samples: NDArray[np.floating], instruction: str) -> NDArray[np.float64]:
        """This env step's command, float64[7], from the sampled normalised chunk [T, 7]."""
        if instruction != self._instruction:
            self.reset()
            self._instruction = instruction
        c = self._config
        actions = unnormalize(clip_and_binarize(samples), c.action_low, c.action_high, c.action_mask)
        return self._commands.command(self._ensemble.add(actions))

    def executed(self, actions: NDArray[np.floating], instruction: str) -> NDArray[np.float64]:
        """See ``vlacache.models.postprocess.Postprocess``; [1, 7]."""
        return self.command(actions, instruction)[None]
