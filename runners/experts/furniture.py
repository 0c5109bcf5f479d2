"""Skills for furniture: pull a drawer open by its handle, turn a knob by pushing one of its ends."""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from runners.envs.libero_state import LiberoState
from runners.experts.hand import (
    CLOSED,
    DOWN,
    OPEN,
    finger_yaw,
    hand_action,
    pointing,
    pointing_down,
    rotation_error,
)

TILT = math.radians(70)  # of the hand at a handle: 90 is level; less leaves the table free, more the handle above
BEFORE_HANDLE = 0.09
PULL_BEYOND = 0.03  # of the hand's target ahead of the drawer: the controller pulls as hard as it is off
OPEN_ENOUGH = 0.15
CLOSE_STEPS, LET_GO_STEPS, LEAVE_STEPS, RISE_STEPS = 13, 8, 12, 25
LEAVE_DISTANCE, RISE_HEIGHT = 0.10, 0.22

KNOB_ARM = 0.030  # from the knob's axis to where the fingers push
KNOB_HEIGHT = 0.045  # of the grip site above the stove's origin while it pushes
KNOB_START, KNOB_ABOVE = 0.050, 0.10
KNOB_STEP = 0.012


class DrawerPhase(IntEnum):
    """What the hand is doing at the drawer."""

    APPROACH = 0
    REACH = 1
    CLOSE = 2
    PULL = 3
    LET_GO = 4
    LEAVE = 5
    RISE = 6
    DONE = 7


class OpenDrawer:
    """Seizes a bar handle from the front and pulls; then leaves, pointing down again.

    Args:
        joint: name of the drawer's slide; negative is open.
    """

    def __init__(self, joint: str) -> None:
        self._joint = joint
        self._phase = DrawerPhase.APPROACH
        self._steps_in_phase = 0
        self._rotation: NDArray[np.float64] | None = None
        self._yaw = 0.0
        self._anchor = np.zeros(3)

    def finished(self, state: LiberoState) -> bool:
        """Whether the drawer is open and the hand away from it."""
        return self._phase is DrawerPhase.DONE

    def act(self, state: LiberoState) -> NDArray[np.float64]:
        """Action float64[7] for the current state."""
        out, handle = self._outward(state), self._handle(state)
        if self._rotation is None:
            self._yaw = finger_yaw(state)
            self._rotation = _facing(state, -out)
        target = self._target(state, out, handle)
        if self._is_complete(state, target):
            self._phase, self._steps_in_phase = DrawerPhase(self._phase + 1), 0
            if self._phase is DrawerPhase.RISE:
                self._anchor = state.eef_pos + np.array([0.0, 0.0, RISE_HEIGHT])
            elif self._phase in (DrawerPhase.CLOSE, DrawerPhase.LET_GO, DrawerPhase.LEAVE):
                self._anchor = state.eef_pos
            target = self._target(state, out, handle)
        else:
            self._steps_in_phase += 1
        wanted = pointing_down(self._yaw) if self._phase >= DrawerPhase.RISE else self._rotation
        grip = CLOSED if self._phase in (DrawerPhase.CLOSE, DrawerPhase.PULL) else OPEN
        return hand_action(state, target, wanted, grip)

    def _target(self, state: LiberoState, out: NDArray[np.float64], handle: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where the grip site should go in this phase, float64[3]."""
        match self._phase:
            case DrawerPhase.APPROACH:
                return handle + BEFORE_HANDLE * out
            case DrawerPhase.REACH:
                return handle
            case DrawerPhase.PULL:
                return handle + PULL_BEYOND * out
            case DrawerPhase.LEAVE:
                return self._anchor + LEAVE_DISTANCE * out
        return self._anchor

    def _is_complete(self, state: LiberoState, target: NDArray[np.float64]) -> bool:
        assert self._rotation is not None
        steps, off = self._steps_in_phase, float(np.linalg.norm(target - state.eef_pos))
        match self._phase:
            case DrawerPhase.APPROACH:
                turned = float(np.linalg.norm(rotation_error(state, self._rotation)))
                return (off < 0.012 and turned < 0.12) or steps > 60
            case DrawerPhase.REACH:
                return off < 0.008 or steps > 30
            case DrawerPhase.CLOSE:
                return steps >= CLOSE_STEPS - 1
            case DrawerPhase.PULL:
                return float(state.data.joint(self._joint).qpos[0]) <= -OPEN_ENOUGH or steps > 60
            case DrawerPhase.LET_GO:
                return steps >= LET_GO_STEPS - 1
            case DrawerPhase.LEAVE:
                return steps >= LEAVE_STEPS - 1
            case DrawerPhase.RISE:
                return off < 0.03 or steps >= RISE_STEPS
        return False

    def _outward(self, state: LiberoState) -> NDArray[np.float64]:
        """Unit vector float64[3] along which the drawer opens."""
        joint = state.model.joint(self._joint)
        return -state.rotation(int(joint.bodyid[0])) @ joint.axis

    def _handle(self, state: LiberoState) -> NDArray[np.float64]:
        """Middle of the drawer's outermost collision geom, float64[3]."""
        body = int(state.model.joint(self._joint).bodyid[0])
        geoms = np.flatnonzero((state.model.geom_bodyid == body) & (state.model.geom_contype != 0))
        outermost = geoms[np.argmax(state.data.geom_xpos[geoms] @ self._outward(state))]
        return state.data.geom_xpos[outermost].copy()


def _facing(state: LiberoState, direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation of a hand tilted by ``TILT`` towards the level ``direction``, fingers above each other."""
    ahead = math.sin(TILT) * direction + math.cos(TILT) * DOWN
    fingers = math.cos(TILT) * direction - math.sin(TILT) * DOWN
    choices = [pointing(ahead, fingers), pointing(ahead, -fingers)]
    return min(choices, key=lambda wanted: float(np.linalg.norm(rotation_error(state, wanted))))


class TurnKnob:
    """Turns a knob anticlockwise: closed fingers push the end of its bar that is on the robot's right.

    Args:
        knob: body whose origin is on the axis; its bar lies along world y at the start.
    """

    def __init__(self, knob: str) -> None:
        self._knob = knob
        self._yaw: float | None = None
        self._above, self._pushing = True, False

    def finished(self, state: LiberoState) -> bool:
        """Never: the goal ends the episode."""
        return False

    def act(self, state: LiberoState) -> NDArray[np.float64]:
        """Action float64[7] for the current state."""
        if self._yaw is None:
            self._yaw = finger_yaw(state)
        start = state.data.body(self._knob).xpos + np.array([-KNOB_START, -KNOB_ARM, KNOB_HEIGHT])
        hand = state.eef_pos
        if self._above:
            self._above = float(np.linalg.norm(start[:2] - hand[:2])) > 0.012
            target = start + np.array([0.0, 0.0, KNOB_ABOVE])
        elif not self._pushing:
            self._pushing = abs(hand[2] - start[2]) < 0.008
            target = start
        else:
            target = np.array([hand[0] + KNOB_STEP * 2, start[1], start[2]])
        return hand_action(state, target, pointing_down(self._yaw), CLOSED)
