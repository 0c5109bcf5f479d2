"""Experts of the Google robot tasks: picks, hooks and pushes laid from the simulator's state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from runners.experts.scripted import ScriptedPolicy
from vlacache.types import SIMPLER_GOOGLE_ACTION_SPEC

if TYPE_CHECKING:  # imports SAPIEN, for which the env's builder chooses the Vulkan driver
    from runners.envs.simpler.google_episode import GoogleEpisode

Vector = NDArray[np.float64]

#: The gripper's command is relative: zero keeps what it is doing.
OPEN, KEEP, CLOSE = -1.0, 0.0, 1.0
#: Largest delta of a step, m and rad: the arm lags behind larger ones.
MAX_WAY, MAX_TURN = 0.05, 0.25
#: A waypoint is reached at this distance (m) and angle (rad), or given up after so many steps.
NEAR, ALIGNED, PATIENCE = 0.012, 0.12, 14
CLOSING_STEPS, OPENING_STEPS = 4, 3
#: Angle (rad) at which the tool leans forward over the table, and to reach a drawer from farther away.
LEAN, FAR_LEAN = 0.6, 0.8


def _leaning(opening: Vector, lean: float = LEAN) -> Rotation:
    """Tool pointing down and forward (the robot faces -x), fingers opening along ``opening`` (horizontal)."""
    forward_down = np.array([-np.sin(lean), 0.0, -np.cos(lean)])
    x = np.cross(opening, forward_down)
    x /= np.linalg.norm(x)
    return Rotation.from_matrix(np.column_stack([x, np.cross(forward_down, x), forward_down]))


#: Fingers to the left and right of an object, or before and behind it.
ASIDE, ALONG = _leaning(np.array([0.0, 1.0, 0.0])), _leaning(np.array([1.0, 0.0, 0.0]))
HOOKING = _leaning(np.array([0.0, 1.0, 0.0]), FAR_LEAN)


@dataclass(frozen=True, slots=True)
class Waypoint:
    """World pose of the tool and the gripper's command, for at least ``hold`` steps."""

    position: Vector
    rotation: Rotation
    gripper: float
    hold: int = 1
    patience: int = PATIENCE


class GoogleExpert(ScriptedPolicy):
    """Follows waypoints that are laid from the state at the moment the one before was reached."""

    action_spec = SIMPLER_GOOGLE_ACTION_SPEC

    def reset(self, seed: int) -> None:
        """Forget the last episode; nothing here is random."""
        self._plan: Iterator[Waypoint] | None = None
        self._waypoint: Waypoint | None = None
        self._steps = 0

    def act(self) -> Vector:
        """Action float64[7] towards the current waypoint; at the end of the plan the arm stays."""
        episode: GoogleEpisode = self.env.privileged()
        if self._plan is None:
            self._plan = PLANS[episode.task.family](episode)
            self._waypoint = next(self._plan)
        if self._is_done(episode):
            self._waypoint = next(self._plan, self._waypoint)
            self._steps = 0
        self._steps += 1
        return _towards(episode, self._waypoint)

    def _is_done(self, episode: GoogleEpisode) -> bool:
        waypoint, pose = self._waypoint, episode.tool_pose()
        if self._steps < waypoint.hold:
            return False
        away = float(np.linalg.norm(pose.p - waypoint.position))
        turned = (waypoint.rotation * _rotation(pose.q).inv()).magnitude()
        return (away < NEAR and turned < ALIGNED) or self._steps >= waypoint.patience + waypoint.hold


def _towards(episode: GoogleEpisode, waypoint: Waypoint) -> Vector:
    """Delta from the sensed pose, about the base's axes."""
    pose, base = episode.tool_pose(), _rotation(episode.robot.base_pose.q).inv()
    way = base.apply(waypoint.position - pose.p)
    turn = base.apply((waypoint.rotation * _rotation(pose.q).inv()).as_rotvec())
    return np.concatenate([_shortened(way, MAX_WAY), _shortened(turn, MAX_TURN), [waypoint.gripper]])


def _grip(episode: GoogleEpisode, name: str) -> tuple[Vector, Rotation]:
    """Where and how to take an object: across its long side, a standing one above its middle."""
    entity = episode.objects[name]
    axis = _rotation(entity.pose.q).apply([0.0, 1.0, 0.0])  # cans and bottles are modelled along y
    above = 0.03 if abs(axis[2]) > 0.5 else -0.004
    lies_aside = abs(axis[2]) <= 0.5 and abs(axis[1]) > abs(axis[0])
    return np.asarray(entity.pose.p) + [0.0, 0.0, above], ALONG if lies_aside and _is_long(name) else ASIDE


def _is_long(name: str) -> bool:
    return "can" in name or "bottle" in name


def _take(episode: GoogleEpisode, name: str, lift: float) -> Iterator[Waypoint]:
    """Over an object, down, close, up."""
    grip, rotation = _grip(episode, name)
    yield Waypoint(grip + [0.0, 0.0, 0.14], rotation, KEEP, patience=25)
    grip, rotation = _grip(episode, name)
    yield Waypoint(grip, rotation, KEEP)
    yield Waypoint(grip, rotation, CLOSE, hold=CLOSING_STEPS)
    yield Waypoint(grip + [0.0, 0.0, lift], rotation, KEEP)


def _pick(episode: GoogleEpisode) -> Iterator[Waypoint]:
    return _take(episode, episode.layout.objects[0].model, 0.15)


def _move_near(episode: GoogleEpisode) -> Iterator[Waypoint]:
    """Take the source, put it down beside the target, on the side from which it came."""
    source, target = (placed.model for placed in episode.layout.objects[:2])
    yield from _take(episode, source, 0.06)
    tool, held = np.asarray(episode.tool_pose().p), np.asarray(episode.objects[source].pose.p)
    way = np.asarray(episode.objects[target].pose.p) - held
    distance = float(np.linalg.norm(way[:2]))
    stop = tool + way * [1.0, 1.0, 0.0] * (1.0 - BESIDE / distance)
    rotation = _rotation(episode.tool_pose().q)
    yield Waypoint(stop, rotation, KEEP, patience=20)
    down = stop - [0.0, 0.0, 0.055]
    yield Waypoint(down, rotation, KEEP)
    yield Waypoint(down, rotation, OPEN, hold=OPENING_STEPS)
    yield Waypoint(down + [0.0, 0.0, 0.12], rotation, OPEN)


#: Distance (m) between the middles of source and target when it is let go.
BESIDE = 0.12


def _front(episode: GoogleEpisode, drawer: str) -> Vector:
    """Middle of a drawer's front panel (m, world frame)."""
    return np.asarray(episode.cabinet.links[f"{drawer}_drawer"].entity_pose.p) + [FRONT_X, 0.0, 0.0]


#: Of a drawer's front panel in the drawer's frame, m.
FRONT_X = 0.305


#: Pulled along a line that the panel keeps the tool from reaching: it stays pressed down. m over the panel's middle.
PULL_LOW = 0.03


def _open(episode: GoogleEpisode) -> Iterator[Waypoint]:
    """Closed fingers over the panel's upper edge, down behind it, and back. The handles have no contacts."""
    drawer = episode.task.drawer
    rotation = HOOKING
    front = _front(episode, drawer)
    yield Waypoint(front + [0.13, 0.0, 0.17], rotation, CLOSE, patience=30)
    yield Waypoint(front + [0.03, 0.0, 0.115], rotation, KEEP)
    yield Waypoint(front + [-0.02, 0.0, 0.10], rotation, KEEP)
    yield Waypoint(front + [-0.03, 0.0, 0.062], rotation, KEEP)
    for reach in (0.06, 0.13, 0.20, 0.25):
        yield Waypoint(front + [reach, 0.0, PULL_LOW], rotation, KEEP, patience=8)


def _close(episode: GoogleEpisode) -> Iterator[Waypoint]:
    """Closed fingers in front of the panel, then against it until it is shut."""
    rotation = ASIDE
    front = _front(episode, episode.task.drawer)
    yield Waypoint(front + [0.10, 0.0, 0.14], rotation, CLOSE, patience=30)
    yield Waypoint(front + [0.08, 0.0, 0.02], rotation, KEEP)
    for reach in (0.0, -0.06, -0.12, -0.18):
        yield Waypoint(front + [reach + 0.02, 0.0, 0.02], rotation, KEEP, patience=8)


def _place(episode: GoogleEpisode) -> Iterator[Waypoint]:
    """Open the drawer, take the object from the cabinet's top, let it go over the open drawer."""
    yield from _open(episode)
    name, drawer = episode.layout.objects[0].model, episode.task.drawer
    up = np.asarray(episode.tool_pose().p) * [1.0, 1.0, 0.0]
    yield Waypoint(up + [0.03, 0.0, 0.88], ASIDE, OPEN)
    yield Waypoint(up + [0.03, 0.0, 1.06], ASIDE, OPEN)
    yield from _take(episode, name, 0.12)
    inside = _front(episode, drawer) * [1.0, 0.0, 0.0] + [-0.10, 0.0, 0.0]
    yield Waypoint(inside + [0.0, 0.0, 1.03], ASIDE, KEEP, patience=20)
    yield Waypoint(inside + [0.0, 0.0, 0.90], ASIDE, KEEP)
    yield Waypoint(inside + [0.0, 0.0, 0.90], ASIDE, OPEN, hold=OPENING_STEPS)
    yield Waypoint(inside + [0.0, 0.0, 1.03], ASIDE, OPEN)


#: Task family -> the waypoints of one episode; each is computed when it is asked for.
PLANS: dict[str, Callable[[GoogleEpisode], Iterator[Waypoint]]] = {
    "pick": _pick,
    "near": _move_near,
    "open": _open,
    "close": _close,
    "place": _place,
}


def _shortened(vector: Vector, longest: float) -> Vector:
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else vector * (longest / length)


def _rotation(quaternion: NDArray[np.floating]) -> Rotation:
    return Rotation.from_quat(np.asarray(quaternion, dtype=np.float64), scalar_first=True)
