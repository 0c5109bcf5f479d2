"""SIMPLER's robots: what turns a de-normalised action into a command, for CogACT and for OpenVLA.

Statistics name the robot, the robot its camera, units and gripper rule. Rotations come as Euler angles (as the data
have them) and leave as axis times angle (as SIMPLER's controllers take them).
"""

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
        ensemble_horizon: chunks in CogACT's adaptive ensemble.
        gripper: ``sticky`` (relative, held for several steps) or ``absolute``.
    """

    name: RobotName
    unnorm_key: str
    camera: str
    action_spec: ActionSpec
    ensemble_horizon: int
    gripper: Literal["sticky", "absolute"]


#: Entry of the gripper in an action.
GRIPPER = 6
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
    raise ValueError(
        f"model.unnorm_key: expected data of a robot whose gripper and rotation rules are known, {known}, got "
        f"{unnorm_key!r}"
    )


@dataclass(slots=True)
class StickyGripper:
    """From an absolute opening (1 open, 0 closed) to a relative command that is held.

    The command is ``reference - opening`` (+1 closes), 0 at the first call. Once it exceeds one half it is repeated for
    ``hold`` calls, whatever the policy says meanwhile.

    Attributes:
        hold: calls that a command lasts. CogACT: 10, OpenVLA: 15.
        follows: the reference is the opening of the call before (OpenVLA). Otherwise it changes only when a hold starts
            (CogACT), so that small changes add up.
    """

    hold: int = 10
    follows: bool = False
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
        relative = 0.0 if self.reference is None else self.reference - opening
        starts = abs(relative) > 0.5 and not self.is_holding
        if self.reference is None or self.follows or starts:
            self.reference = opening
        if starts:
            self.held = relative
        if not (starts or self.is_holding):
            return relative
        relative = self.held
        self.num_held += 1
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


class RobotCommands:
    """From raw actions to one robot's commands. The gripper's state lasts an episode.

    Attributes:
        gripper: of a robot with a sticky one, else None.
    """

    def __init__(self, robot: Robot, sticky: StickyGripper) -> None:
        self.gripper = sticky if robot.gripper == "sticky" else None

    def reset(self) -> None:
        """Forget the episode."""
        if self.gripper is not None:
            self.gripper.reset()

    def command(self, raw: NDArray[np.floating]) -> NDArray[np.float64]:
        """De-normalised action [7] (position, Euler angles, opening) -> float64[7]."""
        opening = float(raw[GRIPPER])
        gripper = absolute_gripper(opening) if self.gripper is None else self.gripper.command(opening)
        return np.concatenate([raw[:3], euler_to_rotation_vector(raw[3:GRIPPER]), [gripper]])
