"""Replays of what the original simulator recorded: the same actions here, and how far the two come apart.

A recording is a pair of files ``<layout>__<probe|purp>.npz|.json``: states of T + 1 instants, actions of T steps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.envs.simpler.env import Episode

#: Tolerances in free space: m and degrees.
FREE_DISTANCE, FREE_ANGLE = 0.5e-3, 0.1
#: Share of steps whose flags must all be equal.
EQUAL_SHARE = 0.98


@dataclass(frozen=True, slots=True)
class Recording:
    """One episode of the original.

    Attributes:
        name: ``carrot_00__purp``. arrays: of the ``.npz``. facts: of the ``.json``.
    """

    name: str
    arrays: Mapping[str, NDArray[Any]]
    facts: Mapping[str, Any]

    @property
    def num_steps(self) -> int:
        """T."""
        return len(self.arrays["action"])

    @property
    def num_free(self) -> int:
        """Steps before the robot first touches something else or the inverse kinematics fail."""
        ends = [np.flatnonzero(self.arrays["robot_contact"]), np.flatnonzero(~self.arrays["ik_success"])]
        return min([self.num_steps, *(int(end[0]) for end in ends if len(end))])


@dataclass(frozen=True, slots=True)
class Replay:
    """How one recording was reproduced.

    Attributes:
        distance: float64[T], m between the tools after each step. angle: float64[T], degrees.
        flags: name -> bool[T], equal to the recording's after each step. num_free: see ``Recording``.
    """

    name: str
    distance: NDArray[np.float64]
    angle: NDArray[np.float64]
    flags: Mapping[str, NDArray[np.bool_]]
    num_free: int

    @property
    def equal(self) -> NDArray[np.bool_]:
        """bool[T]: every flag is the recording's."""
        return np.all(list(self.flags.values()), axis=0)

    @property
    def free_distance(self) -> float:
        """Largest distance in free space, m; 0 when there is none."""
        return float(self.distance[: self.num_free].max(initial=0.0))

    @property
    def free_angle(self) -> float:
        """Largest angle in free space, degrees; 0 when there is none."""
        return float(self.angle[: self.num_free].max(initial=0.0))


def read_recording(path: Path) -> Recording:
    """Read ``<name>.npz`` and the ``.json`` beside it.

    Raises:
        ValueError: a file is missing.
    """
    facts = path.with_suffix(".json")
    if not path.is_file() or not facts.is_file():
        raise ValueError(f"recording: expected {path.name} and {facts.name} in {path.parent}; check the oracles folder")
    with np.load(path) as arrays:
        return Recording(path.stem, {key: arrays[key] for key in arrays}, json.loads(facts.read_text("utf-8")))


def replay(recording: Recording, episode: Episode) -> Replay:
    """Play the recorded actions in ``episode``, freshly started in the recording's layout, and nothing else."""
    distances, angles, flags = [], [], []
    for step, action in enumerate(recording.arrays["action"]):
        episode.step(action)
        expected = np.asarray(recording.arrays["tcp_pose"][step + 1], dtype=np.float64)
        pose = episode.tool_pose()
        distances.append(float(np.linalg.norm(pose.p - expected[:3])))
        angles.append(angle_between(np.asarray(pose.q, dtype=np.float64), expected[3:]))
        flags.append(_equal_flags(recording, episode.flags, step))
    columns = {name: np.array([row[name] for row in flags]) for name in flags[0]}
    return Replay(recording.name, np.array(distances), np.array(angles), columns, recording.num_free)


def angle_between(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Degrees between two orientations, quaternions float[4] of any length and sign."""
    cosine = abs(float(first @ second)) / float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.degrees(2.0 * np.arccos(min(1.0, cosine))))


def _equal_flags(recording: Recording, flags: Any, step: int) -> dict[str, bool]:
    """Flag by flag, so far as the task's rules have it too.

    The original books the state after a step under ``info_<name>`` and, under ``stats_<name>``, some flags that stay
    set once they were; the latter are compared only where there is no former.
    """
    equal = {}
    for key in recording.arrays:
        name = key.removeprefix("info_").removeprefix("stats_")
        ours = getattr(flags, name, None) if name != key else None
        if not isinstance(ours, (bool, np.bool_)) or (key.startswith("stats_") and f"info_{name}" in recording.arrays):
            continue
        equal[name] = bool(ours) == bool(recording.arrays[key][step])
    return equal
