"""Expert of libero_spatial: "pick up the black bowl ... and place it on the plate", from privileged state.

A phase machine. It seizes the bowl by the rim, lifts it over everything on the straight way, carries it over the plate,
lowers it and lets go. Gains: 1.0 of an action is 5 cm or 0.5 rad of goal offset.
"""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from runners.envs.libero_state import LiberoState
from runners.experts.reach import Obstacles, clamp_to_reach
from runners.experts.rim_grasp import GRASP_HEIGHT, RIM_HEIGHT, RimGrasp, choose_rim_grasp
from runners.experts.scripted import ScriptedPolicy

POSITION_GAIN, ROTATION_GAIN = 24.0, 6.0
CARRY_SPEED = 0.75
APPROACH_HEIGHT = 0.10  # above the rim
LIFT_HEIGHT = 0.10
CARRY_CLEARANCE = 0.09  # of the grip site above everything on the way
CARRY_WIDTH = 0.09  # half width of the corridor that must be cleared
RELEASE_HEIGHT = 0.026  # of the bowl's origin above the plate's
RETREAT_HEIGHT = 0.15
LOST_DISTANCE = 0.10
CLOSE_STEPS = 13  # 8 close the fingers; a lift after 9 leaves the bowl behind
OPEN_STEPS = 6
RETREAT_STEPS = 15
OPEN, CLOSED = -1.0, 1.0


class Phase(IntEnum):
    """What the hand is doing."""

    APPROACH = 0
    DESCEND = 1
    CLOSE = 2
    LIFT = 3
    CARRY = 4
    LOWER = 5
    OPEN = 6
    RETREAT = 7


class LiberoSpatialExpert(ScriptedPolicy):
    """Plays every task of libero_spatial; the goal predicate names bowl and plate."""

    def __init__(self) -> None:
        super().__init__()
        self._phase = Phase.APPROACH
        self._steps_in_phase = 0
        self._grasp: RimGrasp | None = None
        self._anchor = np.zeros(3)

    def reset(self, seed: int) -> None:
        """Forget the last episode; nothing here is random."""
        self._grasp = None
        self._enter(Phase.APPROACH)

    def act(self) -> NDArray[np.float64]:
        """Action for the current state; see ``ScriptedPolicy.act``."""
        state: LiberoState = self.env.privileged()
        (_, bowl_name, plate_name), *_ = state.goal
        if self._grasp is None:
            self._grasp = choose_rim_grasp(state, bowl_name, plate_name)
        bowl, plate = state.object_pos(bowl_name), state.object_pos(plate_name)
        hand = state.eef_pos
        self._advance(state, hand, bowl, plate, bowl_name)
        target = self._target(hand, bowl, plate)
        if self._phase in (Phase.APPROACH, Phase.LIFT, Phase.CARRY, Phase.RETREAT):
            target = clamp_to_reach(target, state.base_pos)
        return self._action(state, target - hand)

    def _enter(self, phase: Phase) -> None:
        self._phase, self._steps_in_phase = phase, 0

    def _advance(
        self,
        state: LiberoState,
        hand: NDArray[np.float64],
        bowl: NDArray[np.float64],
        plate: NDArray[np.float64],
        bowl_name: str,
    ) -> None:
        """Go on to the next phase where the current one has reached its end."""
        carrying = self._phase in (Phase.LIFT, Phase.CARRY, Phase.LOWER)
        lost = carrying and np.linalg.norm(bowl - hand) > LOST_DISTANCE
        missed = self._phase is Phase.RETREAT and self._steps_in_phase >= RETREAT_STEPS  # let go, yet no success
        if lost or missed:
            self._grasp = choose_rim_grasp(state, bowl_name, state.goal[0][2])
            self._enter(Phase.APPROACH)
        elif self._is_complete(state, hand, bowl, plate):
            following = Phase(self._phase + 1)
            if following is Phase.CLOSE:
                self._anchor = self._target(hand, bowl, plate)
            if following in (Phase.OPEN, Phase.RETREAT):
                self._anchor = hand
            if following is Phase.LIFT:
                obstacles = Obstacles.of(state, without=(bowl_name,))
                top = obstacles.top_along(hand, plate, CARRY_WIDTH)
                self._anchor = np.array([*hand[:2], max(hand[2] + LIFT_HEIGHT, top + CARRY_CLEARANCE)])
            self._enter(following)
        else:
            self._steps_in_phase += 1

    def _is_complete(
        self, state: LiberoState, hand: NDArray[np.float64], bowl: NDArray[np.float64], plate: NDArray[np.float64]
    ) -> bool:
        steps = self._steps_in_phase
        error = self._target(hand, bowl, plate) - hand
        off = float(np.linalg.norm(error[:2]))
        match self._phase:
            case Phase.APPROACH:
                slack = 1.0 + max(0, steps - 25) / 10.0  # rather a rough approach than none
                turned = float(np.linalg.norm(self._rotation_error(state)))
                return off < 0.010 * slack and turned < 0.1 * slack and abs(error[2]) < 0.03 * slack
            case Phase.DESCEND:
                return abs(hand[2] - bowl[2] - GRASP_HEIGHT) < 0.006 or steps > 40
            case Phase.CLOSE:
                return steps >= CLOSE_STEPS - 1
            case Phase.LIFT:
                return abs(error[2]) < 0.02 or steps > 50
            case Phase.CARRY:
                return float(np.linalg.norm(bowl[:2] - plate[:2])) < (0.010 if steps < 45 else 0.022)
            case Phase.LOWER:
                return bool(bowl[2] <= plate[2] + RELEASE_HEIGHT) or steps > 40
            case Phase.OPEN:
                return steps >= OPEN_STEPS - 1
        return False

    def _target(
        self, hand: NDArray[np.float64], bowl: NDArray[np.float64], plate: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Where the grip site should go in this phase, float64[3]."""
        assert self._grasp is not None  # chosen at the first call of an episode
        rim = bowl[:2] + self._grasp.offset
        over_plate = plate[:2] + hand[:2] - bowl[:2]  # the live offset: the bowl may have slipped in the fingers
        match self._phase:
            case Phase.APPROACH:
                return np.array([*rim, bowl[2] + RIM_HEIGHT + APPROACH_HEIGHT])
            case Phase.DESCEND:
                straying = np.linalg.norm(rim - hand[:2]) > 0.02
                return np.array([*rim, hand[2] if straying else bowl[2] + GRASP_HEIGHT])
            case Phase.CARRY:
                return np.array([*over_plate, self._anchor[2]])
            case Phase.LOWER:
                return np.array([*over_plate, hand[2] - (bowl[2] - plate[2] - RELEASE_HEIGHT) - 0.01])
            case Phase.RETREAT:
                return self._anchor + np.array([0.0, 0.0, RETREAT_HEIGHT])
        return self._anchor

    def _action(self, state: LiberoState, way: NDArray[np.float64]) -> NDArray[np.float64]:
        """Action float64[7] that moves the hand along ``way`` (m) and turns it to the grasp's yaw."""
        move = np.clip(way * POSITION_GAIN, -1.0, 1.0)
        if self._phase is Phase.CARRY:
            move[:2] *= CARRY_SPEED
        turn = np.clip(self._rotation_error(state) * ROTATION_GAIN, -1.0, 1.0)
        grip = CLOSED if Phase.CLOSE <= self._phase <= Phase.LOWER else OPEN
        return np.array([*move, *turn, grip])

    def _rotation_error(self, state: LiberoState) -> NDArray[np.float64]:
        """Axis-angle float64[3] from the hand's rotation to "straight down, fingers along the chosen yaw"."""
        assert self._grasp is not None
        fingers = np.array([math.cos(self._grasp.yaw), math.sin(self._grasp.yaw), 0.0])
        down = np.array([0.0, 0.0, -1.0])
        wanted = np.stack([fingers, np.cross(down, fingers), down], axis=1)
        return _rotation_vector(wanted @ state.eef_rotation.T)


def _rotation_vector(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Axis times angle of a rotation matrix, for angles below pi."""
    doubled_sine = np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    angle = math.acos(min(1.0, max(-1.0, (float(np.trace(rotation)) - 1.0) / 2.0)))
    size = float(np.linalg.norm(doubled_sine))
    return np.zeros(3) if size < 1e-9 else doubled_sine * (angle / size)
