"""The Google robot's two controllers: Cartesian deltas in, drive targets for the 171 physics steps out.

What is not obvious, and why it is so (``ManiSkill2_real2sim/agents/controllers``):

- The pose delta is added to the *sensed* pose, but the planned path starts at the *planned* waypoint of the step
  before, with its velocity. The arm therefore lags: +2 cm for one step moves it by about 5 mm in that step.
- Paths are jerk-limited and time-optimal (Ruckig), one for each control step, mostly not finished when it ends.
- The inverse kinematics ignores joint limits. SAPIEN 2 clips drive targets to them, SAPIEN 3 does not: who sets the
  drives clips, and only there; plans and goals stay as computed.
- The gripper plans, with velocity targets, from the sensed opening to a goal relative to the last *drive target*. A
  command near zero keeps the goal of the step before, so the gripper goes on squeezing.
- A finger that an object holds is not sensed at rest there: the solver reports up to 1 rad/s and more, so the path runs
  further ahead, and on "open" it first goes on closing for half a control step (``sensed_velocity``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import sapien
from numpy.typing import NDArray
from ruckig import InputParameter, Result, Ruckig, Trajectory

from runners.envs.simpler.google_robot import ARM, FINGERS, NUM_SUBSTEPS, SIM_HZ
from runners.envs.simpler.robot import Robot
from runners.envs.simpler.rotations import quaternion_of

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a planned path: rad/s, rad/s^2, rad/s^3."""

    velocity: float
    acceleration: float
    jerk: float


ARM_LIMITS = Limits(1.5, 2.0, 50.0)
GRIPPER_LIMITS = Limits(1.0, 7.0, 50.0)

#: The gripper's command of one is this many rad: finger range 1.3 and 0.01 of squeeze.
GRIPPER_SCALE = 1.31
#: How far beyond the joint limits the gripper's goal may lie, rad.
GRIPPER_MARGIN = 0.01
#: A scaled command below this keeps the goal, rad.
GRIPPER_DEAD_ZONE = 1e-3
#: Velocity of a held finger, rad/s for each rad between its last drive target and where it is, and from which
#: difference on it counts as held (in free air both lie within 1e-3 rad). In the recordings 2.4 to 3.4 behind a can,
#: where not clipped to the limit of 1 rad/s (37 instants), less behind an apple; 2.7 to 3.5 end every recording alike.
HELD_VELOCITY, HELD_FROM = 3.0, 0.02
#: From here on the fingers hold each other, which moves them as a pair and has no such velocity, rad.
CLOSED_PAIR = 1.06


@dataclass(frozen=True, slots=True)
class Path:
    """Waypoints 0 .. 171 of one control step: ``position`` rad and ``velocity`` rad/s, float64[172, J]."""

    position: Vector
    velocity: Vector


def plan_path(position: Vector, velocity: Vector, goal: Vector, limits: Limits) -> Path:
    """Time-optimal jerk-limited path from a moving start to rest at ``goal``, all joints in step.

    Args:
        position, velocity: float64[J] rad and rad/s at the start; velocities beyond the limit are clipped to it.
        goal: float64[J] rad. limits: of every joint.

    Raises:
        RuntimeError: the planner finds no path.
    """
    size = len(goal)
    request = InputParameter(size)
    request.current_position = position
    request.current_velocity = np.clip(velocity, -limits.velocity, limits.velocity)
    request.target_position = goal
    request.max_velocity = [limits.velocity] * size
    request.max_acceleration = [limits.acceleration] * size
    request.max_jerk = [limits.jerk] * size
    trajectory = Trajectory(size)
    result = _planner(size).calculate(request, trajectory)
    if result not in (Result.Working, Result.Finished):
        raise RuntimeError(f"no path from {position} (moving at {velocity}) to {goal}: Ruckig says {result}")
    # Sampling costs more than planning: not beyond the end.
    num_moving = min(NUM_SUBSTEPS + 1, math.ceil(trajectory.duration * SIM_HZ))
    path = Path(np.tile(goal, (NUM_SUBSTEPS + 1, 1)), np.zeros((NUM_SUBSTEPS + 1, size)))
    if num_moving:
        path.position[:num_moving], path.velocity[:num_moving] = _sample(trajectory, num_moving)
    return path


def _sample(trajectory: Trajectory, count: int) -> tuple[Vector, Vector]:
    """Positions and velocities float64[count, J] at every physics step from the start on.

    All at once, for ``Trajectory.at_time`` takes a third of a control step's Python; with its arithmetic, so to the
    bit. Starts are within the limits here, so there is nothing to brake before the seven sections.
    """
    profiles = trajectory.profiles[0]
    ends = np.cumsum([one.t for one in profiles], axis=1)
    times = (np.arange(count) / SIM_HZ)[:, None]
    section = np.sum(times[:, :, None] >= ends, axis=2)  # 7 after the end
    joint = np.arange(len(profiles))
    elapsed = times - np.hstack([np.zeros((len(profiles), 1)), ends])[joint, section]
    start, velocity, acceleration = (np.array([getattr(one, name) for one in profiles]) for name in ("p", "v", "a"))
    jerk = np.array([[*one.j, 0.0] for one in profiles])[joint, section]
    v, a = velocity[joint, section], acceleration[joint, section]
    return (
        start[joint, section] + elapsed * (v + elapsed * (a / 2 + elapsed * jerk / 6)),
        v + elapsed * (a + elapsed * jerk / 2),
    )


@cache
def _planner(num_joints: int) -> Ruckig:
    return Ruckig(num_joints)


def shifted_pose(position: Vector, quat_wxyz: Vector, delta: Vector) -> tuple[Vector, Vector]:
    """Pose moved by a delta about the base's axes: plain shift, rotation vector times the old orientation.

    Args:
        position: float64[3] m. quat_wxyz: float64[4]. delta: float64[6], m and rad.

    Returns:
        Position float64[3] and orientation wxyz float64[4].
    """
    turn = sapien.Pose(q=quaternion_of(delta[3:6])) * sapien.Pose(q=quat_wxyz)
    return position + delta[:3], np.asarray(turn.q, dtype=np.float64)


#: Target position and orientation (wxyz) of the tcp in the base's frame -> goal float64[J] of the arm, or None.
InverseKinematics = Callable[[Vector, Vector], Vector | None]


class ArmController:
    """Plans the arm joints of one control step after the other. State lasts an episode."""

    def __init__(self, solve: InverseKinematics) -> None:
        self._solve = solve
        self._path: Path | None = None  # the first one starts at the sensed state

    def plan(self, qpos: Vector, qvel: Vector, tcp: tuple[Vector, Vector], delta: Vector) -> Path:
        """Path of this control step.

        Args:
            qpos, qvel: sensed, float64[J] rad and rad/s. tcp: sensed position and orientation (wxyz) in the base's
                frame. delta: float64[6], m and rad about the base's axes.
        """
        goal = self._solve(*shifted_pose(*tcp, delta))
        start, velocity = (qpos, qvel) if self._path is None else (self._path.position[-1], self._path.velocity[-1])
        # Without a solution the goal is where the arm is.
        self._path = plan_path(start, velocity, qpos if goal is None else goal, ARM_LIMITS)
        return self._path


def sensed_velocity(qpos: Vector, qvel: Vector, last_target: Vector) -> Vector:
    """Of the fingers, float64[F] rad/s, as SAPIEN 2 would report it: ``qvel`` is SAPIEN 3's, 0 for a held finger.

    Args:
        qpos: float64[F] rad. last_target: the last drive target, float64[F] rad.
    """
    behind = last_target - qpos
    is_held = (np.abs(behind) > HELD_FROM) & (qpos < CLOSED_PAIR)
    return np.where(is_held, qvel + HELD_VELOCITY * behind, qvel)


class GripperController:
    """Plans the fingers with one command for both. State lasts an episode.

    Attributes:
        goal: float64[F] rad, of the last command. last_target: float64[F] rad, where the drives were sent to last.
    """

    def __init__(self, limits: Vector, qpos: Vector) -> None:
        """``limits`` float64[F, 2] of the joints, ``qpos`` float64[F] at the start of the episode, rad."""
        self._low, self._high = limits[:, 0] - GRIPPER_MARGIN, limits[:, 1] + GRIPPER_MARGIN
        self.goal = self.last_target = qpos

    def plan(self, qpos: Vector, qvel: Vector, command: float) -> Path:
        """Path of this control step.

        Args:
            qpos, qvel: sensed, float64[F] rad and rad/s. command: +1 closes by the whole range, -1 opens.
        """
        step = float(np.clip(command, -1.0, 1.0)) * GRIPPER_SCALE
        if abs(step) >= GRIPPER_DEAD_ZONE:
            self.goal = np.clip(self.last_target + step, self._low, self._high)
        path = plan_path(qpos, qvel, self.goal, GRIPPER_LIMITS)
        self.last_target = path.position[-1]
        return path


class GoogleController:
    """Both controllers on a robot: one ``command`` a control step, then ``drive`` before each physics step."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self._arm = ArmController(self._solve)
        self._gripper = GripperController(robot.limits[list(FINGERS)], robot.qpos[list(FINGERS)])
        self._set_targets, _ = robot.drives_of(ARM + FINGERS)
        _, self._set_velocities = robot.drives_of(FINGERS)
        self._targets: list[list[float]] = []
        self._velocities: list[list[float]] = []

    def command(self, action: Vector) -> None:
        """Plan the control step.

        Args:
            action: float[7], position delta (m), rotation vector (rad), gripper (+1 closes); neither scaled nor
                bounded but for the gripper's clip to +-1.
        """
        robot = self._robot
        qpos, qvel, tcp = robot.qpos, robot.qvel, robot.tcp_at_base
        arm, fingers = list(ARM), list(FINGERS)
        pose = (np.asarray(tcp.p, dtype=np.float64), np.asarray(tcp.q, dtype=np.float64))
        arm_path = self._arm.plan(qpos[arm], qvel[arm], pose, action[:6])
        finger_velocity = sensed_velocity(qpos[fingers], qvel[fingers], self._gripper.last_target)
        finger_path = self._gripper.plan(qpos[fingers], finger_velocity, float(action[6]))
        targets = np.hstack([arm_path.position, finger_path.position])
        limits = robot.limits[arm + fingers]
        self._targets = np.clip(targets, limits[:, 0], limits[:, 1]).tolist()
        self._velocities = finger_path.velocity.tolist()

    def drive(self, substep: int) -> None:
        """Set the drives for physics step ``substep``, 1 .. 171."""
        for set_target, target in zip(self._set_targets, self._targets[substep], strict=True):
            set_target(target)
        for set_velocity, velocity in zip(self._set_velocities, self._velocities[substep], strict=True):
            set_velocity(velocity)

    def _solve(self, position: Vector, quat_wxyz: Vector) -> Vector | None:
        solution = self._robot.inverse_kinematics(sapien.Pose(position, quat_wxyz), ARM)
        return None if solution is None else solution[list(ARM)]
