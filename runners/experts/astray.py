"""An expert that is wrong about where its hand is, what it holds, or which object is meant."""

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
#: Share of the episodes in which it goes for another object of the same kind, where there is one.
SHARE_OF_OTHER_OBJECT = 0.3
#: Share of the episodes in which it takes the object for held once the fingers have closed.
SHARE_OF_BLIND_FAITH = 0.5
#: Steps that the fingers take to close.
CLOSING_STEPS = 9


@dataclass(frozen=True, slots=True)
class MistakenState(LiberoState):
    """A state in which the hand seems to be elsewhere, and perhaps to carry what it does not.

    Attributes:
        shift: float64[3] (m), where the hand seems to be minus where it is.
        carried: the object that seems to hang ``offset`` float64[3] (m) from where the hand seems to be, if any.
    """

    shift: NDArray[np.float64]
    carried: str | None = None
    offset: NDArray[np.float64] | None = None

    @property
    def eef_pos(self) -> NDArray[np.float64]:
        """Where the grip site seems to be, float64[3]."""
        return LiberoState.eef_pos.fget(self) + self.shift  # type: ignore[attr-defined]

    def object_pos(self, name: str) -> NDArray[np.float64]:
        """Where an object or fixture seems to be, float64[3]. Raises ``KeyError`` for an unknown instance."""
        if name == self.carried:
            return self.eef_pos + self.offset
        return LiberoState.object_pos(self, name)


class AstrayExpert:
    """Plays ``expert`` with mistakes that are drawn for each episode.

    Either its hand misses by some centimetres, or it goes for another object that looks like the named one; and in some
    episodes it never notices that its fingers closed on nothing, and carries that to the goal. Leads into
    demonstrations (``runners.demos.novice``): a policy gets into all of these, an expert never does.
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
        #: Whether it goes for another object, and whether it believes in what it closed its fingers on.
        self.takes_other, self.has_faith = False, False
        self._closed_steps = 0
        self._offset: NDArray[np.float64] | None = None

    def reset(self, seed: int) -> None:
        """Draw the mistakes."""
        rng = np.random.default_rng(seed)
        angle, distance = rng.uniform(0.0, 2.0 * math.pi), rng.uniform(*SIDEWAYS)
        sideways = distance * np.array([math.cos(angle), math.sin(angle)])
        self.shift = np.array([*sideways, rng.uniform(-TOO_HIGH, TOO_LOW)])
        self.takes_other = bool(rng.random() < SHARE_OF_OTHER_OBJECT)
        self.has_faith = bool(rng.random() < SHARE_OF_BLIND_FAITH)
        self._closed_steps, self._offset = 0, None
        self._expert.reset(seed)

    def attach(self, env: Env) -> None:
        """Take the env of the next episode."""
        self._expert.attach(_MistakenEnv(env, self))  # type: ignore[arg-type]

    def infer(self, observation: Observation) -> ActionChunk:
        """The expert's action, for what seems to be."""
        chunk = self._expert.infer(observation)
        self._closed_steps = self._closed_steps + 1 if chunk.actions[0, 6] > 0.0 else 0
        return chunk

    def mistake(self, state: LiberoState) -> MistakenState:
        """What the expert is shown instead of ``state``."""
        values = {field.name: getattr(state, field.name) for field in fields(LiberoState)}
        target = state.goal[0][1]
        others = lookalikes(state, target)
        goes_elsewhere = self.takes_other and bool(others)
        shift = np.zeros(3) if goes_elsewhere else self.shift
        if goes_elsewhere:
            values["root_bodies"] = state.root_bodies | {target: state.root_bodies[others[0]]}
        seen = MistakenState(**values, shift=shift)
        # A region, the goal of opening something, cannot be carried.
        if not self.has_faith or self._closed_steps < CLOSING_STEPS or target not in state.root_bodies:
            self._offset = None
            return seen
        if self._offset is None:
            self._offset = seen.object_pos(target) - seen.eef_pos
        return MistakenState(**values, shift=shift, carried=target, offset=self._offset)


def lookalikes(state: LiberoState, name: str) -> list[str]:
    """Other instances of the kind of ``name``: ``akita_black_bowl_2`` for ``akita_black_bowl_1``."""
    kind = name.rpartition("_")[0]
    return sorted(n for n in state.root_bodies if kind and n != name and n.rpartition("_")[0] == kind)


class _MistakenEnv:
    """Of an env only what a scripted policy reads."""

    def __init__(self, env: Env, owner: AstrayExpert) -> None:
        self._env, self._owner = env, owner

    def privileged(self) -> MistakenState:
        return self._owner.mistake(self._env.privileged())
