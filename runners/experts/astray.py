"""An expert that is wrong about where its hand is: does everything right, beside the place."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from runners.envs.base import Env, PrivilegedPolicy
from runners.envs.libero_state import LiberoState
from vlacache.types import LIBERO_ACTION_SPEC, ActionChunk, Observation

#: Metres by which the hand misses: sideways at least and at most, too low at most, too high at most.
SIDEWAYS, TOO_LOW, TOO_HIGH = (0.01, 0.06), 0.01, 0.03


@dataclass(frozen=True, slots=True)
class MistakenState(LiberoState):
    """A state whose hand seems to be ``shift`` float64[3] (m) away from where it is."""

    shift: NDArray[np.float64]

    @property
    def eef_pos(self) -> NDArray[np.float64]:
        """Where the grip site seems to be, float64[3]."""
        return LiberoState.eef_pos.fget(self) + self.shift  # type: ignore[attr-defined]


class AstrayExpert:
    """Plays ``expert`` with a hand that misses by a distance drawn for each episode.

    Leads into demonstrations (``runners.demos.novice``): a hand beside the rim, fingers that closed on nothing, and all
    that follows, which a policy gets into and an expert never does.
    """

    name = "astray"
    weights = "none"
    action_spec = LIBERO_ACTION_SPEC
    cameras: tuple[str, ...] = ()
    num_open_loop_steps = 1

    def __init__(self, expert: PrivilegedPolicy) -> None:
        self._expert = expert
        #: Where the hand seems to be, minus where it is: float64[3] (m).
        self.shift = np.zeros(3)

    def reset(self, seed: int) -> None:
        """Draw how far it misses."""
        rng = np.random.default_rng(seed)
        angle, distance = rng.uniform(0.0, 2.0 * math.pi), rng.uniform(*SIDEWAYS)
        sideways = distance * np.array([math.cos(angle), math.sin(angle)])
        self.shift = np.array([*sideways, rng.uniform(-TOO_HIGH, TOO_LOW)])
        self._expert.reset(seed)

    def attach(self, env: Env) -> None:
        """Take the env of the next episode."""
        self._expert.attach(_MistakenEnv(env, self))  # type: ignore[arg-type]

    def infer(self, observation: Observation) -> ActionChunk:
        """The expert's action, for where the hand seems to be."""
        return self._expert.infer(observation)


class _MistakenEnv:
    """Of an env only what a scripted policy reads."""

    def __init__(self, env: Env, owner: AstrayExpert) -> None:
        self._env, self._owner = env, owner

    def privileged(self) -> MistakenState:
        state = self._env.privileged()
        values = {field.name: getattr(state, field.name) for field in fields(LiberoState)}
        return MistakenState(**values, shift=self._owner.shift)
