"""Expert of the WidowX tasks: over the object, down, close, lift, over the target, down, open, up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from runners.experts.scripted import ScriptedPolicy
from vlacache.types import SIMPLER_WIDOWX_ACTION_SPEC

if TYPE_CHECKING:  # imports SAPIEN, for which the env's builder chooses the Vulkan driver
    from runners.envs.simpler.bridge_episode import BridgeEpisode

OPEN, CLOSE = 1.0, -1.0
#: Largest change of the commanded pose in a step, m and rad.
MAX_WAY, MAX_TURN = 0.045, 0.35
#: A waypoint is reached at this distance (m) and angle (rad), or given up after so many steps.
NEAR, ALIGNED, PATIENCE = 0.004, 0.05, 8
CLOSING_STEPS, OPENING_STEPS = 3, 2
UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, slots=True)
class Hold:
    """Where an object is gripped and how it is carried, m.

    Attributes:
        along: from the centre of mass along the object's x axis. above: the tool over that point.
        clearance: height of the way. release: of the object's centre over the target's when it is let go.
    """

    along: float = 0.0
    above: float = 0.003
    clearance: float = 0.09
    release: float = 0.03


HOLDS: dict[str, Hold] = {
    # The bowl of the spoon is too wide and too low for the fingers: they take the handle.
    "bridge_spoon_generated_modified": Hold(along=0.035, above=0.012, release=0.02),
    "bridge_carrot_generated_modified": Hold(release=0.028),
    "baked_green_cube_3cm": Hold(release=0.0315),
    "eggplant": Hold(above=0.006, clearance=0.13, release=0.055),
}


@dataclass(frozen=True, slots=True)
class Waypoint:
    """Pose of the tool in the frame of the base and the gripper's command, for at least ``hold`` steps."""

    position: NDArray[np.float64]
    rotation: Rotation
    gripper: float
    hold: int = 1


class WidowXExpert(ScriptedPolicy):
    """Follows waypoints that are laid from the state at the moment the one before was reached."""

    action_spec = SIMPLER_WIDOWX_ACTION_SPEC

    def reset(self, seed: int) -> None:
        """Forget the last episode; nothing here is random."""
        self._plan: Iterator[Waypoint] | None = None
        self._waypoint: Waypoint | None = None
        self._steps = 0

    def act(self) -> NDArray[np.float64]:
        """Action float64[7] towards the current waypoint; at the end of the plan the arm stays."""
        episode: BridgeEpisode = self.env.privileged()
        if self._plan is None:
            self._plan = _plan(episode)
            self._waypoint = next(self._plan)
        if self._is_done(episode):
            self._waypoint = next(self._plan, self._waypoint)
            self._steps = 0
        self._steps += 1
        return _towards(episode, self._waypoint)

    def _is_done(self, episode: BridgeEpisode) -> bool:
        waypoint, pose = self._waypoint, episode.robot.tcp_at_base
        if self._steps < waypoint.hold:
            return False
        away = float(np.linalg.norm(pose.p - waypoint.position))
        turned = (waypoint.rotation * _rotation(pose.q).inv()).magnitude()
        return (away < NEAR and turned < ALIGNED) or self._steps >= PATIENCE + waypoint.hold


def _plan(episode: BridgeEpisode) -> Iterator[Waypoint]:
    """The waypoints of one episode; each is computed when it is asked for."""
    hold = HOLDS[episode.task.source]
    rotation = _over(episode)
    grip = episode.grip_point(hold.along) + hold.above * UP
    yield Waypoint(grip + (hold.clearance - 0.02) * UP, rotation, OPEN)
    rotation = _over(episode)  # a rolling object may have turned
    grip = episode.grip_point(hold.along) + hold.above * UP
    yield Waypoint(grip, rotation, OPEN)
    yield Waypoint(grip, rotation, CLOSE, hold=CLOSING_STEPS)
    lifted = grip + hold.clearance * UP
    yield Waypoint(lifted, rotation, CLOSE)
    yield Waypoint(_carry(episode, lifted[2]), rotation, CLOSE)
    yield Waypoint(_carry(episode, lifted[2]), rotation, CLOSE)  # once more: the arm lags behind its target
    down = _carry(episode, lifted[2]) - (episode.height_over_target() - hold.release) * UP
    yield Waypoint(down, rotation, CLOSE)
    yield Waypoint(down, rotation, OPEN, hold=OPENING_STEPS)
    yield Waypoint(down + hold.clearance * UP, rotation, OPEN)


def _carry(episode: BridgeEpisode, height: float) -> NDArray[np.float64]:
    """Tool position that brings the held object over its target."""
    tool = episode.robot.tcp_at_base.p + episode.way_to_target()
    return np.array([tool[0], tool[1], height])


def _over(episode: BridgeEpisode) -> Rotation:
    """Tool pointing down, fingers closing across the object; of the two ways the one with less turning."""
    across = episode.source_axis_at_base(1)
    across = np.array([across[0], across[1], 0.0]) / np.linalg.norm(across[:2])
    now = _rotation(episode.robot.tcp_at_base.q)
    choices = []
    for sign in (1.0, -1.0):
        y = sign * across
        choices.append(Rotation.from_matrix(np.column_stack([-UP, y, np.cross(-UP, y)])))
    return min(choices, key=lambda choice: (choice * now.inv()).magnitude())


def _towards(episode: BridgeEpisode, waypoint: Waypoint) -> NDArray[np.float64]:
    """Bring the controller's target, which lasts from step to step, nearer to the waypoint."""
    target = episode.target_pose
    way = waypoint.position - target.p
    turn = (waypoint.rotation * _rotation(target.q).inv()).as_rotvec()
    return np.concatenate([_shortened(way, MAX_WAY), _shortened(turn, MAX_TURN), [waypoint.gripper]])


def _shortened(vector: NDArray[np.float64], longest: float) -> NDArray[np.float64]:
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else vector * (longest / length)


def _rotation(quaternion: NDArray[np.floating]) -> Rotation:
    return Rotation.from_quat(np.asarray(quaternion, dtype=np.float64), scalar_first=True)
