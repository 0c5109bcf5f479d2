"""What all scripted policies share."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from runners.envs.base import Env
from vlacache.types import LIBERO_ACTION_SPEC, ActionChunk, InferenceStats, Observation

if TYPE_CHECKING:  # the toy suite needs no MuJoCo
    from runners.envs.libero_state import LiberoState


class ScriptedPolicy(ABC):
    """A policy of one action a call, from privileged state; no pictures, no weights.

    The whole call is booked under ``action_head_ms``: there is no other stage.
    """

    name = "expert"
    weights = "none"
    action_spec = LIBERO_ACTION_SPEC
    cameras: tuple[str, ...] = ()
    num_open_loop_steps = 1

    def __init__(self) -> None:
        self._env: Env | None = None

    def attach(self, env: Env) -> None:
        """Take the env whose state the next episode is played from."""
        self._env = env

    @property
    def env(self) -> Env:
        """The attached env. Raises ``RuntimeError`` before ``attach``."""
        if self._env is None:
            raise RuntimeError("the expert reads the simulator: call attach(env) before infer")
        return self._env

    @abstractmethod
    def reset(self, seed: int) -> None:
        """Forget the last episode."""

    @abstractmethod
    def act(self) -> NDArray[np.float64]:
        """Action float64[7] for the current state of the env."""

    def infer(self, observation: Observation) -> ActionChunk:
        """One action; the observation itself is not needed."""
        start = time.perf_counter()
        action = self.act()
        elapsed_ms = (time.perf_counter() - start) * 1e3
        stats = InferenceStats(action_head_ms=elapsed_ms, total_ms=elapsed_ms, fallback="policy_none")
        return ActionChunk(actions=action.astype(np.float32)[None], stats=stats)


class Skill(Protocol):
    """A part of a task with its own phases. Made for one episode."""

    def act(self, state: LiberoState) -> NDArray[np.float64]:
        """Action float64[7] for the current state."""
        ...

    def finished(self, state: LiberoState) -> bool:
        """Whether the next skill may begin."""
        ...


class LiberoExpert(ScriptedPolicy):
    """Plays the skills of a plan one after the other; the plan is made at the first step of an episode."""

    def __init__(self) -> None:
        super().__init__()
        self._skills: list[Skill] = []

    @abstractmethod
    def plan(self, state: LiberoState) -> list[Skill]:
        """The skills for the goal of ``state``, at least one."""

    def reset(self, seed: int) -> None:
        """Forget the last episode; nothing here is random."""
        self._skills = []

    def act(self) -> NDArray[np.float64]:
        """Action of the current skill; the last one goes on until the episode ends."""
        state = self.env.privileged()
        if not self._skills:
            self._skills = self.plan(state)
        while len(self._skills) > 1 and self._skills[0].finished(state):
            del self._skills[0]
        return self._skills[0].act(state)
