"""robosuite's soft reset, brought to where the scripts' hard reset ends: the same bits without a new model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import mujoco
import numpy as np


class ModelRebuild:
    """Stands in for ``sim.reset`` of a LIBERO environment; leaves everything as a hard reset does before placement.

    Without it an episode depends on the one before: fixtures stand where they were drawn last, and robosuite keeps the
    gripper's last command.

    A hard reset also appends the task's open-or-closed states to a list that nobody empties, so an environment draws
    them once more at every reset, and in tasks with a drawer all later draws shift. ``restart`` forgets how often.
    """

    def __init__(self, robosuite_env: Any) -> None:
        self._env = robosuite_env
        self._property_samplers = list(robosuite_env.object_property_initializers)
        self._num_rebuilds = 0

    def restart(self) -> None:
        """Count from a newly built environment again."""
        self._num_rebuilds = 0

    def __call__(self) -> None:
        """Reset robot, fixtures and simulation.

        The two forward passes are those of the simulation's and of the render context's constructor. The solver starts
        from their solution, so they show in the last bits of the trajectory.
        """
        self._num_rebuilds += 1
        self._env.object_property_initializers = self._property_samplers * (1 + self._num_rebuilds)
        model, data = self._env.sim.model._model, self._env.sim.data._data
        for fixture in self._env.fixtures:
            body = model.body(fixture.root_body).id
            model.body_pos[body] = 0.0
            model.body_quat[body] = (1.0, 0.0, 0.0, 0.0)
        for robot in self._env.robots:
            robot.gripper.current_action = np.zeros(robot.gripper.dof)
        mujoco.mj_resetData(model, data)
        for _ in range(2):
            mujoco.mj_forward(model, data)


@contextmanager
def private_numpy_seed(*, seed: int, state: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """Give robosuite, which draws from numpy's global generator, a stream of its own; restore the global one after.

    Args:
        seed: starts the stream. state: continues an earlier stream instead.

    Yields:
        A dict that holds the state of the stream once the block has ended.
    """
    outer = np.random.get_state()  # noqa: NPY002 - robosuite uses the global generator
    end_state: dict[str, Any] = {}
    np.random.seed(seed) if state is None else np.random.set_state(state)  # noqa: NPY002
    try:
        yield end_state
    finally:
        end_state.update(np.random.get_state(legacy=False))  # noqa: NPY002
        np.random.set_state(outer)  # noqa: NPY002
