"""Pictures of a MuJoCo model: one OpenGL context per process, one framebuffer per model, two render modes.

``reference``: MuJoCo's and robosuite's defaults (4x multisampling, reflections, visual meshes of the robot); pixels
equal those of LIBERO's ``OffScreenRenderEnv``. ``fast``: no multisampling, no reflections, and the robot drawn by its
14 000 collision faces instead of 168 000 visual ones; on a software renderer that is several times quicker.
"""

from __future__ import annotations

import atexit
import importlib
from contextlib import suppress
from functools import cache
from typing import Any, Literal

import mujoco
import numpy as np
from numpy.typing import NDArray

from runners.envs.libero_runtime import select_gl_backend

RenderMode = Literal["reference", "fast"]

MAX_SCENE_GEOMS = 1000
VISIBLE_GROUP, HIDDEN_GROUP = 1, 4  # LIBERO draws geom group 1 and not group 0; groups above 2 are off by default
ROBOT_PREFIXES = ("robot0_", "gripper0_")
LINK_RGBA = (0.90, 0.90, 0.91, 1.0)
ACCENT_RGBA = (0.66, 0.68, 0.71, 1.0)
HAND_RGBA = (0.78, 0.79, 0.81, 1.0)
FINGER_RGBA = (0.27, 0.28, 0.30, 1.0)


class CameraRenderer:
    """Draws the cameras of one compiled model at one size.

    Args:
        model: its visual settings are changed in mode ``fast`` (nothing that physics reads).
        size: height and width in pixels. mode: see the module docstring.
    """

    def __init__(self, model: mujoco.MjModel, size: int, mode: RenderMode) -> None:
        self._model = model
        self._data = mujoco.MjData(model)
        self._viewport = mujoco.MjrRect(0, 0, size, size)
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._options = mujoco.MjvOption()
        self._options.geomgroup[0] = 0
        model.vis.global_.offwidth = model.vis.global_.offheight = size
        if not model.light_castshadow.any():
            model.vis.quality.shadowsize = 0  # else a 4096 x 4096 shadow map is allocated and never used
        if mode == "fast":
            model.vis.quality.offsamples = 0
            draw_robot_by_collision_meshes(model)
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_SCENE_GEOMS)
        if mode == "fast":
            self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        _gl_context().make_current()
        self._context: mujoco.MjrContext | None = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)

    def render(self, qpos: NDArray[np.float64], camera: str) -> NDArray[np.uint8]:
        """Picture of the model at joint positions ``qpos``.

        Args:
            qpos: float64[nq]. camera: name in the model.

        Returns:
            uint8[size, size, 3], rows from bottom to top, as OpenGL and robosuite deliver them.

        Raises:
            RuntimeError: after ``close``.
        """
        if self._context is None:
            raise RuntimeError("render after close: build a new env")
        self._data.qpos[:] = qpos
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        self._camera.fixedcamid = self._model.camera(camera).id
        mujoco.mjv_updateScene(
            self._model, self._data, self._options, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        _gl_context().make_current()
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        mujoco.mjr_render(self._viewport, self._scene, self._context)
        pixels = np.empty((self._viewport.height, self._viewport.width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(pixels, None, self._viewport, self._context)
        return pixels

    def close(self) -> None:
        """Free the framebuffer, meshes and textures on the graphics side. May be called twice."""
        if self._context is not None:
            _gl_context().make_current()
            self._context.free()
            self._context = None


def draw_robot_by_collision_meshes(model: mujoco.MjModel) -> None:
    """Hide the visual meshes of arm and gripper and show the collision geoms in their place, coloured."""
    for geom in range(model.ngeom):
        body = model.body(model.geom_bodyid[geom]).name
        if not body.startswith(ROBOT_PREFIXES):
            continue
        if model.geom_group[geom] == VISIBLE_GROUP:
            model.geom_group[geom] = HIDDEN_GROUP
        else:
            model.geom_group[geom] = VISIBLE_GROUP
            model.geom_matid[geom] = -1
            model.geom_rgba[geom] = _robot_colour(body)


def _robot_colour(body: str) -> tuple[float, float, float, float]:
    if body.startswith("gripper0_"):
        return FINGER_RGBA if "finger" in body else HAND_RGBA
    return ACCENT_RGBA if body.endswith(("link0", "link3", "link5", "link7")) else LINK_RGBA


@cache
def _gl_context() -> Any:
    """The context of this process. One is enough: each model keeps its own framebuffer and buffers in it.

    Freeing contexts one by one is what breaks with EGL (framebuffers of the others become incomplete).
    """
    backend = select_gl_backend()
    # By name: mujoco.GLContext is whatever MUJOCO_GL asked for when somebody first imported mujoco.
    module = importlib.import_module(f"mujoco.{backend}") if backend in ("egl", "osmesa", "glfw") else mujoco
    context = module.GLContext(64, 64)  # the size is unused: each framebuffer carries its own
    atexit.register(_free_at_exit, context)
    return context


def _free_at_exit(context: Any) -> None:
    """Free the context while its display lives; robosuite may have ended that already."""
    with suppress(Exception):
        context.free()
    context._context = None  # else its finalizer tries again, after the modules it needs are gone
