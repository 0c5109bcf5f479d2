"""From a model's normalised actions to what the environment executes, by model and benchmark."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vlacache.models.cogact.postprocess import EpisodePostprocess
from vlacache.models.config import VLAConfig
from vlacache.models.heads import gripper_to_robosuite, unnormalize
from vlacache.models.robots import ROBOTS, RobotCommands, StickyGripper

#: OpenVLA's SIMPLER forks hold a gripper command for so many steps.
OPENVLA_HOLD = 15


class Postprocess(Protocol):
    """Turns the answer of one policy call into actions."""

    def reset(self) -> None:
        """Forget the episode."""
        ...

    def executed(self, actions: NDArray[np.floating], instruction: str) -> NDArray[np.float64]:
        """Normalised actions [T, dim] (or flat) -> float64[T, dim] in the units of the model's ``ActionSpec``."""
        ...


def build_postprocess(config: VLAConfig) -> Postprocess:
    """CogACT's rules, OpenVLA's rules for a SIMPLER robot, or de-normalisation and LIBERO's gripper."""
    if config.head == "diffusion":
        return EpisodePostprocess(config)
    return ChunkPostprocess(config) if config.robot is None else RobotPostprocess(config)


class ChunkPostprocess:
    """De-normalise a chunk; the gripper by ``config.gripper``. Keeps nothing."""

    def __init__(self, config: VLAConfig) -> None:
        self._config = config

    def reset(self) -> None:
        """Nothing to forget."""

    def executed(self, actions: NDArray[np.floating], instruction: str) -> NDArray[np.float64]:
        """See ``Postprocess``."""
        executed = _denormalized(actions, self._config)
        if self._config.gripper == "libero":
            executed[:, -1] = gripper_to_robosuite(executed[:, -1])
        return executed


class RobotPostprocess:
    """OpenVLA on a SIMPLER robot, as its forks of SimplerEnv have it: axis-angle, and the robot's gripper rule.

    The Google robot's sticky gripper is held for 15 steps, and its reference follows at every step, unlike CogACT's.

    Raises:
        ValueError: a config without robot.
    """

    def __init__(self, config: VLAConfig) -> None:
        if config.robot is None:
            raise ValueError(f"{config.name}: expected a robot whose gripper rule applies, got None")
        self._config = config
        gripper = StickyGripper(hold=OPENVLA_HOLD, follows=True)
        self._commands = RobotCommands(ROBOTS[config.robot], gripper)
        self._instruction: str | None = None

    def reset(self) -> None:
        """Forget the episode."""
        self._commands.reset()
        self._instruction = None

    def executed(self, actions: NDArray[np.floating], instruction: str) -> NDArray[np.float64]:
        """See ``Postprocess``; [1, 7]. Another instruction starts afresh."""
        if instruction != self._instruction:
            self.reset()
            self._instruction = instruction
        raw = _denormalized(actions, self._config)[0]
        return self._commands.command(raw)[None]


def _denormalized(actions: NDArray[np.floating], config: VLAConfig) -> NDArray[np.float64]:
    rows = np.asarray(actions).reshape(-1, config.action_dim)
    return unnormalize(rows, config.action_low, config.action_high, config.action_mask, config.action_epsilon)
