"""How the original lets objects fall and come to rest before an episode."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sapien

from runners.envs.simpler.objects import body_of

#: m/s and rad/s, summed over the objects; faster ones get more time.
STILL_LINEAR, STILL_ANGULAR = 1e-3, 1e-2
DROP_S, REST_S, MORE_S = 0.5, 0.5, 1.5
UPRIGHT = [False, False, False, True, True, False]
FREE = [False] * 6


def settle(scene: sapien.Scene, objects: Sequence[sapien.Entity], sim_hz: int) -> list[float]:
    """Drop ``objects`` without tilting, then let them rest freely.

    Args:
        objects: at their spawn poses.

    Returns:
        The seconds that each phase was given, as upstream's ``settle`` calls.
    """
    for entity in objects:
        body_of(entity).set_locked_motion_axes(UPRIGHT)
    wait(scene, DROP_S, sim_hz)
    for entity in objects:
        body = body_of(entity)
        body.set_locked_motion_axes(FREE)
        entity.set_pose(entity.pose)  # wakes it
        body.set_linear_velocity(np.zeros(3))
        body.set_angular_velocity(np.zeros(3))
    wait(scene, REST_S, sim_hz)
    if not is_moving(objects):
        return [DROP_S, REST_S]
    wait(scene, MORE_S, sim_hz)
    return [DROP_S, REST_S, MORE_S]


def wait(scene: sapien.Scene, seconds: float, sim_hz: int) -> None:
    """Simulate; a broken step is left away, as upstream does."""
    for _ in range(int(sim_hz * seconds)):
        scene.step()


def is_moving(objects: Sequence[sapien.Entity]) -> bool:
    """Whether the speeds of ``objects``, summed, call for more time."""
    bodies = [body_of(entity) for entity in objects]
    linear = sum(float(np.linalg.norm(body.linear_velocity)) for body in bodies)
    angular = sum(float(np.linalg.norm(body.angular_velocity)) for body in bodies)
    return linear > STILL_LINEAR or angular > STILL_ANGULAR
