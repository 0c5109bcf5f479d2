"""Other colours, lights and cameras for each demonstration; physics reads none of it."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

LOOKS = ("colour", "light", "camera")

TINT, BRIGHTNESS = 0.12, 0.25  # of each colour channel, and of all three together
LIGHT_STRENGTH, LIGHT_SHIFT = 0.35, 0.6  # share; metres
CAMERA_SHIFT, CAMERA_TURN = {"agentview": 0.02, "robot0_eye_in_hand": 0.004}, np.deg2rad(1.5)

_FIELDS = ("geom_rgba", "mat_rgba", "light_pos", "light_diffuse", "light_ambient", "cam_pos", "cam_quat")


class LookJitter:
    """Changes the looks of one compiled model for a demo, and puts them back.

    Make it after the env's first picture: the renderer sets colours of its own then.

    Args:
        model: of the env. kinds: a choice of ``LOOKS``.

    Raises:
        ValueError: an unknown kind.
    """

    def __init__(self, model: mujoco.MjModel, kinds: tuple[str, ...]) -> None:
        unknown = set(kinds) - set(LOOKS)
        if unknown:
            raise ValueError(f"jitter: expected a choice of {', '.join(LOOKS)}, got {', '.join(sorted(unknown))}")
        self._model, self._kinds = model, kinds
        self._nominal = {name: getattr(model, name).copy() for name in _FIELDS}
        self._headlight = {name: getattr(model.vis.headlight, name).copy() for name in ("ambient", "diffuse")}

    def apply(self, rng: np.random.Generator) -> None:
        """Draw new looks, from the nominal ones."""
        self.restore()
        if "colour" in self._kinds:
            plain = self._model.geom_matid < 0  # the colour of a geom with a material overrides the material
            self._model.geom_rgba[plain, :3] = _recoloured(self._model.geom_rgba[plain, :3], rng)
            self._model.mat_rgba[:, :3] = _recoloured(self._model.mat_rgba[:, :3], rng)
        if "light" in self._kinds:
            self._light(rng)
        if "camera" in self._kinds:
            for name, shift in CAMERA_SHIFT.items():
                self._move_camera(self._model.camera(name).id, shift, rng)

    def restore(self) -> None:
        """The looks as they were."""
        for name, values in self._nominal.items():
            getattr(self._model, name)[:] = values
        for name, values in self._headlight.items():
            getattr(self._model.vis.headlight, name)[:] = values

    def _light(self, rng: np.random.Generator) -> None:
        model = self._model
        model.light_pos += rng.uniform(-LIGHT_SHIFT, LIGHT_SHIFT, size=model.light_pos.shape)
        model.light_diffuse *= 1.0 + rng.uniform(-LIGHT_STRENGTH, LIGHT_STRENGTH, size=(model.nlight, 1))
        for values in (model.light_ambient, model.vis.headlight.ambient, model.vis.headlight.diffuse):
            values *= 1.0 + rng.uniform(-LIGHT_STRENGTH, LIGHT_STRENGTH)

    def _move_camera(self, camera: int, shift: float, rng: np.random.Generator) -> None:
        self._model.cam_pos[camera] += rng.uniform(-shift, shift, size=3)
        turn = np.zeros(4)
        mujoco.mju_axisAngle2Quat(turn, _unit(rng.standard_normal(3)), rng.uniform(-CAMERA_TURN, CAMERA_TURN))
        turned = np.zeros(4)
        mujoco.mju_mulQuat(turned, self._model.cam_quat[camera], turn)
        self._model.cam_quat[camera] = turned


def _recoloured(colours: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float64]:
    """Each colour [N, 3] tinted and made brighter or darker, within [0, 1]; black stays black."""
    tint = 1.0 + rng.uniform(-TINT, TINT, size=colours.shape)
    brightness = 1.0 + rng.uniform(-BRIGHTNESS, BRIGHTNESS, size=(len(colours), 1))
    return np.clip(colours * tint * brightness, 0.0, 1.0)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / np.linalg.norm(vector)
