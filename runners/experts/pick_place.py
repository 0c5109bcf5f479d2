"""Pick something up and put it somewhere: the phase machine that most scripted experts are.

It seizes the object from above, drags it out from under whatever hangs over it, lifts it over everything on the
straight way, carries it over the place, lowers it and lets go. An object that was lost, or let go without reaching the
goal, is picked up again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from runners.envs.libero_state import LiberoState
from runners.experts.grasp import Grasp
from runners.experts.hand import CLOSED, OPEN, hand_action, pointing_down, rotation_error
from runners.experts.reach import Obstacles, clamp_to_reach

CARRY_SPEED = 0.75
LIFT_HEIGHT = 0.10
CARRY_CLEARANCE = 0.055  # of the object above everything on the way
NEARLY_OVER = 0.06  # of the place, when the arm cannot get nearer at the carrying height
CARRY_WIDTH = 0.09  # half width of the corridor that must be cleared
RETREAT_HEIGHT = 0.15
OVERHEAD = 0.25  # of the object that must be free before it is lifted
DRAG_MARGIN = 0.012
DRAG_STRIDE = 0.02  # between the places on the way that must be free
PALM, HAND_RADIUS = 0.05, 0.045  # of the hand: height above the grip site, half thickness
HAND_COLUMNS = (-0.07, 0.0, 0.07)  # places along the finger axis
DRAG_DISTANCES, DRAG_ANGLES = np.arange(1, 9) * 0.02, np.arange(16) * (math.pi / 8)
LOST_DISTANCE = 0.038  # of the object from where it should be in the fingers
CLOSE_STEPS = 13  # 8 close the fingers; a lift after 9 leaves the bowl behind
OPEN_STEPS = 6
RETREAT_STEPS = 15

#: Where the object's origin is to be let go, float64[3], from the live state and the grasp.
Place = Callable[[LiberoState, Grasp | None], NDArray[np.float64]]
#: Chooses a grasp from the live state, the object's name and the place.
Chooser = Callable[[LiberoState, str, NDArray[np.float64]], Grasp]


class Phase(IntEnum):
    """What the hand is doing."""

    APPROACH = 0
    DESCEND = 1
    CLOSE = 2
    DRAG = 3
    LIFT = 4
    CARRY = 5
    LOWER = 6
    OPEN = 7
    RETREAT = 8


class PickAndPlace:
    """Moves one object to one place; never finished by itself, the goal ends the episode.

    Args:
        name: instance name of the object. choose: how to seize it. place: where to let it go.
        slide: keep it on its support instead of lifting it.
    """

    def __init__(self, name: str, choose: Chooser, place: Place, *, slide: bool = False) -> None:
        self._name, self._choose, self._place, self._slide = name, choose, place, slide
        self._phase = Phase.APPROACH
        self._steps_in_phase = 0
        self._grasp: Grasp | None = None
        self._anchor = np.zeros(3)

    def finished(self, state: LiberoState) -> bool:
        """Never: after a failed release it starts over."""
        return False

    def act(self, state: LiberoState) -> NDArray[np.float64]:
        """Action float64[7] for the current state."""
        if self._grasp is None:
            self._grasp = self._choose(state, self._name, self._place(state, None))
        hand, thing = state.eef_pos, state.object_pos(self._name)
        place = self._place(state, self._grasp)
        self._advance(state, hand, thing, place)
        target = self._target(hand, thing, place)
        if self._phase in (Phase.APPROACH, Phase.DRAG, Phase.LIFT, Phase.CARRY, Phase.RETREAT):
            target = clamp_to_reach(target, state.base_pos)
        grip = CLOSED if Phase.CLOSE <= self._phase <= Phase.LOWER else OPEN
        speed = CARRY_SPEED if self._phase is Phase.CARRY else 1.0
        return hand_action(state, target, pointing_down(self._grasp.yaw), grip, speed=speed)

    def _enter(self, phase: Phase) -> None:
        self._phase, self._steps_in_phase = phase, 0

    def _advance(
        self, state: LiberoState, hand: NDArray[np.float64], thing: NDArray[np.float64], place: NDArray[np.float64]
    ) -> None:
        """Go on to the next phase where the current one has reached its end."""
        assert self._grasp is not None  # chosen at the first call
        carrying = self._phase in (Phase.LIFT, Phase.CARRY, Phase.LOWER)
        reach = float(np.linalg.norm(self._grasp.offset)) + LOST_DISTANCE
        lost = carrying and float(np.linalg.norm(thing - hand)) > reach
        missed = self._phase is Phase.RETREAT and self._steps_in_phase >= RETREAT_STEPS  # let go, yet no success
        if lost or missed:
            self._grasp = self._choose(state, self._name, place)
            self._enter(Phase.APPROACH)
        elif self._is_complete(state, hand, thing, place):
            following = Phase(self._phase + 1)
            if following is Phase.CLOSE:
                self._anchor = self._target(hand, thing, place)
            if following in (Phase.OPEN, Phase.RETREAT):
                self._anchor = hand
            if following is Phase.DRAG:
                way_out = self._way_out(state)
                self._anchor = self._anchor + way_out
                following = Phase.DRAG if way_out.any() else Phase.LIFT
            if following is Phase.LIFT:
                self._anchor = np.array([*hand[:2], hand[2] if self._slide else self._carry_height(state, place)])
            self._enter(following)
        else:
            self._steps_in_phase += 1

    def _way_out(self, state: LiberoState) -> NDArray[np.float64]:
        """Shortest sideways way, float64[3], to where nothing hangs over object or hand; zero where nothing does."""
        around, hand, fingers = Obstacles.of(state, without=(self._name,)), state.eef_pos, state.eef_rotation[:2, 0]
        corners = Obstacles.of_object(state, self._name).corners().reshape(-1, 3)
        middle, low, high = (
            state.object_pos(self._name)[:2],
            float(corners[:, 2].min()) + 0.006,
            float(corners[:, 2].max()),
        )
        radius = float(np.linalg.norm(corners[:, :2] - middle, axis=1).max())

        def leads_out(way: NDArray[np.float64]) -> bool:
            at_end = around.free_column(middle + way, radius + DRAG_MARGIN, low, high + OVERHEAD) and all(
                around.free_column(hand[:2] + way + r * fingers, HAND_RADIUS, hand[2] + PALM, high + OVERHEAD)
                for r in HAND_COLUMNS
            )
            shares = np.arange(0.0, 1.0, DRAG_STRIDE / float(np.linalg.norm(way)))
            # Not through a drawer's wall: better lifted from where it stands than dragged there.
            return at_end and all(around.free_column(middle + s * way, radius - 0.002, low, high) for s in shares)

        if self._slide or around.free_column(middle, radius - 0.002, high + 0.004, high + OVERHEAD):
            return np.zeros(3)
        for distance in DRAG_DISTANCES:
            for angle in DRAG_ANGLES:
                way = distance * np.array([math.cos(angle), math.sin(angle)])
                if leads_out(way):
                    return np.array([*way, 0.0])
        return np.zeros(3)

    def _carry_height(self, state: LiberoState, place: NDArray[np.float64]) -> float:
        """Height of the grip site at which the object clears everything on the straight way."""
        assert self._grasp is not None
        top = Obstacles.of(state, without=(self._name,)).top_along(state.eef_pos, place, CARRY_WIDTH)
        return max(float(state.eef_pos[2]) + LIFT_HEIGHT, top + CARRY_CLEARANCE + self._grasp.hang)

    def _is_complete(
        self, state: LiberoState, hand: NDArray[np.float64], thing: NDArray[np.float64], place: NDArray[np.float64]
    ) -> bool:
        assert self._grasp is not None
        steps = self._steps_in_phase
        error = self._target(hand, thing, place) - hand
        off = float(np.linalg.norm(error[:2]))
        match self._phase:
            case Phase.APPROACH:
                slack = 1.0 + max(0, steps - 25) / 10.0  # rather a rough approach than none
                turned = float(np.linalg.norm(rotation_error(state, pointing_down(self._grasp.yaw))))
                return off < 0.010 * slack and turned < 0.1 * slack and abs(error[2]) < 0.03 * slack
            case Phase.DESCEND:
                return bool(abs(hand[2] - thing[2] - self._grasp.offset[2]) < 0.006) or steps > 40
            case Phase.CLOSE:
                return steps >= CLOSE_STEPS - 1
            case Phase.DRAG:
                return off < 0.005 or steps > 40
            case Phase.LIFT:
                return abs(error[2]) < 0.02 or steps > 50
            case Phase.CARRY:
                aside = float(np.linalg.norm(thing[:2] - place[:2]))
                return aside < (0.010 if steps < 45 else 0.022) or (
                    aside < NEARLY_OVER and self._is_at_limit(state, hand, hand + error)
                )
            case Phase.LOWER:
                return bool(thing[2] <= place[2]) or steps > 40
            case Phase.OPEN:
                return steps >= OPEN_STEPS - 1
        return False

    @staticmethod
    def _is_at_limit(state: LiberoState, hand: NDArray[np.float64], target: NDArray[np.float64]) -> bool:
        """As near as the arm gets at this height: over a far place it reaches farther on the way down."""
        reachable = clamp_to_reach(target, state.base_pos)
        is_clamped = float(np.linalg.norm(target - reachable)) > 0.003
        return is_clamped and float(np.linalg.norm(reachable - hand)) < 0.012

    def _target(
        self, hand: NDArray[np.float64], thing: NDArray[np.float64], place: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Where the grip site should go in this phase, float64[3]."""
        assert self._grasp is not None
        point = thing + self._grasp.offset
        over_place = place[:2] + hand[:2] - thing[:2]  # the live offset: the object may have slipped in the fingers
        match self._phase:
            case Phase.APPROACH:
                return point + np.array([0.0, 0.0, self._grasp.approach])
            case Phase.DESCEND:
                straying = np.linalg.norm(point[:2] - hand[:2]) > 0.02
                return np.array([*point[:2], hand[2] if straying else point[2]])
            case Phase.CARRY:
                return np.array([*over_place, self._anchor[2]])
            case Phase.LOWER:
                return np.array([*over_place, hand[2] - (thing[2] - place[2]) - 0.01])
            case Phase.RETREAT:
                return self._anchor + np.array([0.0, 0.0, RETREAT_HEIGHT])
        return self._anchor
