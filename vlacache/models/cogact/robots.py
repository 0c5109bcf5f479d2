"""What turns an ensembled action into a command of one robot: statistics, camera, ensemble and gripper rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vlacache.models.config import RobotName
from vlacache.types import SIMPLER_GOOGLE_ACTION_SPEC, SIMPLER_WIDOWX_ACTION_SPEC, ActionSpec


@dataclass(frozen=True, slots=True)
class Robot:
    """The published SIMPLER settings of one robot.

    Attributes:
        name: as SIMPLER calls it. unnorm_key: of the statistics of its data. camera: the view the policy sees.
        action_spec: of the command.
        ensemble_horizon: chunks in the adaptive ensemble.
        gripper: ``sticky`` (relative, held for several steps) or ``absolute``.
    """

    name: RobotName
    unnorm_key: str
    camera: str
    action_spec: ActionSpec
    ensemble_horizon: int
    gripper: Literal["sticky", "absolute"]


GOOGLE_ROBOT = Robot("google_robot", "fractal20220817_data", "overhead_camera", SIMPLER_GOOGLE_ACTION_SPEC, 2, "sticky")
WIDOWX = Robot("widowx_bridge", "bridge_orig", "3rd_view_camera", SIMPLER_WIDOWX_ACTION_SPEC, 7, "absolute")
ROBOTS: dict[RobotName, Robot] = {robot.name: robot for robot in (GOOGLE_ROBOT, WIDOWX)}


def robot_of(unnorm_key: str) -> Robot:
    """The robot whose data the statistics describe.

    Raises:
        ValueError: no rule is known for that key.
    """
    for robot in ROBOTS.values():
        if robot.unnorm_key == unnorm_key:
            return robot
    known = [robot.unnorm_key for robot in ROBOTS.values()]
    raise ValueError(f"model.unnorm_key: expected data of a robot with known CogACT rules, {known}, got {unnorm_key!r}")


@dataclass(slots=True)
class StickyGripper:
    """From an absolute opening (1 open, 0 closed) to a relative command that is held.

    The command is ``reference - opening`` (+1 closes). Once it exceeds one half it is repeated for ``hold`` calls,
    whatever the policy says meanwhile. The reference changes only when a hold starts, not at every call.
    """

    hold: int = 10
    reference: float | None = None
    held: float = 0.0
    num_held: int = 0

    @property
    def is_holding(self) -> bool:
        """A command is being repeated."""
        return self.num_held > 0

    def reset(self) -> None:
        """Forget the reference and a command that is being held."""
        self.reference, self.held, self.num_held = None, 0.0, 0

    def command(self, opening: float) -> float:
        """The relative command of this env step."""
        if self.reference is None:
            self.reference = opening
        relative = self.reference - opening
        if abs(relative) > 0.5 and not self.is_holding:
            self.held, self.reference = relative, opening
            self.num_held = 1
        elif self.is_holding:
            self.num_held += 1
        else:
            return relative
        relative = self.held
        if self.num_held == self.hold:
            self.held, self.num_held = 0.0, 0
        return relative


def absolute_gripper(opening: float) -> float:
    """+1 opens above one half, else -1 closes (WidowX)."""
    return 1.0 if opening > 0.5 else -1.0


def euler_to_rotation_vector(euler: NDArray[np.floating]) -> NDArray[np.float64]:
    """Roll, pitch, yaw about fixed x, y, z (rad) -> axis times angle, float64[3]."""
    (cr, cp, cy), (sr, sp, sy) = np.cos(np.asarray(euler) / 2), np.sin(np.asarray(euler) / 2)
    w = cr * cp * cy + sr * sp * sy
    vector = np.array([sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy, cr * cp * sy - sr * sp * cy])
    length = float(np.linalg.norm(vector))
    if length < 1e-12:
        return np.zeros(3)
    # atan2 rather than acos(w): policies command small rotations, where acos loses half the digits.
    return vector / length * 2.0 * np.arctan2(length, w)
