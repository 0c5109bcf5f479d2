"""Where gripper, target and goal are: in each picture and relative to the hand. Targets of auxiliary losses."""

from __future__ import annotations

import math

import mujoco
import numpy as np
from numpy.typing import NDArray

from runners.envs.libero_state import LiberoState
from runners.envs.libero_tasks import CAMERAS


class SceneLabels:
    """Reads the labels of one env. ``update`` first, then the rest; all from the instant that pictures show.

    Args:
        state: live state; its model may change its cameras between calls. The first goal predicate names target and
            goal; where it has one argument (``open``, ``turnon``), both are that.
    """

    def __init__(self, state: LiberoState) -> None:
        self._state = state
        self._data = mujoco.MjData(state.model)
        arguments = state.goal[0][1:]
        self._names = {"target": arguments[0], "goal": arguments[-1]}

    def update(self, qpos: NDArray[np.float64]) -> None:
        """Compute positions at joint positions ``qpos`` float64[nq]."""
        self._data.qpos[:] = qpos
        mujoco.mj_kinematics(self._state.model, self._data)
        mujoco.mj_comPos(self._state.model, self._data)
        mujoco.mj_camlight(self._state.model, self._data)

    def position(self, point: str) -> NDArray[np.float64]:
        """World position float64[3] of ``gripper``, ``target`` or ``goal``."""
        if point == "gripper":
            return self._data.site_xpos[self._state.eef_site].copy()
        name = self._names[point]
        if name in self._state.root_bodies:
            return self._data.xpos[self._state.root_bodies[name]].copy()
        return self._data.site(name).xpos.copy()

    def offset(self, point: str) -> NDArray[np.float32]:
        """``point`` minus gripper in the world frame, float32[3] (m)."""
        return (self.position(point) - self.position("gripper")).astype(np.float32)

    def pixel(self, view: str, point: str) -> NDArray[np.float32] | None:
        """Where ``point`` is in the picture that ``LiberoEnv.observe`` gives of ``view``.

        Returns:
            float32[2], column and row as shares of width and height from the top left corner; None outside. A point
            hidden behind something counts as inside.
        """
        camera = self._data.cam(CAMERAS[view])
        model_camera = self._state.model.cam(CAMERAS[view])
        right, up, back = camera.xmat.reshape(3, 3).T @ (self.position(point) - camera.xpos)
        if back >= -1e-6:
            return None
        tangent = math.tan(math.radians(float(model_camera.fovy[0])) / 2)
        # LiberoEnv's pictures are upright and mirrored left to right.
        column, row = 0.5 + 0.5 * right / (back * tangent), 0.5 + 0.5 * up / (back * tangent)
        inside = 0.0 <= column <= 1.0 and 0.0 <= row <= 1.0
        return np.array([column, row], dtype=np.float32) if inside else None
