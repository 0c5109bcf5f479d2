"""One episode's way from sampled chunks to commands: ensemble, rotation, gripper."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vlacache.models.cogact.actions import GRIPPER, ActionStats, clip_and_binarize
from vlacache.models.cogact.ensemble import AdaptiveEnsemble
from vlacache.models.cogact.robots import Robot, StickyGripper, absolute_gripper, euler_to_rotation_vector


class EpisodePostprocess:
    """State that lasts an episode, or until the instruction changes (CogACT's SIMPLER policy)."""

    def __init__(self, robot: Robot, stats: ActionStats) -> None:
        self.robot = robot
        self._stats = stats
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
        raw = self._ensemble.add(self._stats.unnormalize(clip_and_binarize(samples)))
        return self._to_command(raw)

    def _to_command(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        opening = float(raw[GRIPPER])
        gripper = absolute_gripper(opening) if self.gripper is None else self.gripper.command(opening)
        return np.concatenate([raw[:3], euler_to_rotation_vector(raw[3:GRIPPER]), [gripper]])
