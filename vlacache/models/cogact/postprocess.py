"""One episode's way from sampled chunks to commands: clip, de-normalise, ensemble, rotation, gripper."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vlacache.models.cogact.actions import GRIPPER, clip_and_binarize
from vlacache.models.cogact.ensemble import AdaptiveEnsemble
from vlacache.models.cogact.robots import ROBOTS, StickyGripper, absolute_gripper, euler_to_rotation_vector
from vlacache.models.config import VLAConfig
from vlacache.models.heads import unnormalize


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
        self.gripper = StickyGripper() if robot.gripper == "sticky" else None
        self._instruction: str | None = None

    def reset(self) -> None:
        """Forget the episode."""
        self._ensemble.reset()
        if self.gripper is not None:
            self.gripper.reset()
        self._instruction = None

    def command(self, samples: NDArray[np.floating], instruction: str) -> NDArray[np.float64]:
        """This env step's command, float64[7], from the sampled normalised chunk [T, 7]."""
        if instruction != self._instruction:
            self.reset()
            self._instruction = instruction
        c = self._config
        actions = unnormalize(clip_and_binarize(samples), c.action_low, c.action_high, c.action_mask)
        return self._to_command(self._ensemble.add(actions))

    def _to_command(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        opening = float(raw[GRIPPER])
        gripper = absolute_gripper(opening) if self.gripper is None else self.gripper.command(opening)
        return np.concatenate([raw[:3], euler_to_rotation_vector(raw[3:GRIPPER]), [gripper]])
