"""What an episode looks like, as data: meshes, lights, camera and the photo behind them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runners.envs.simpler.rotations import Quaternion, Vector


@dataclass(frozen=True, slots=True)
class UrdfLook:
    """The visuals of an articulation; its bodies are named ``<name>/<link>``.

    Attributes:
        specular, roughness: of every part, or None to keep the file's.
    """

    name: str
    file: Path
    specular: float | None = None
    roughness: float | None = None


@dataclass(frozen=True, slots=True)
class MeshLook:
    """One mesh or box.

    Attributes:
        file: None for a box. position, quaternion: of the visual in its body.
        foreground: drawn over the photo. half_size, color: of a box (m, linear RGB).
        metallic, roughness, specular: of the material, or None to keep the file's.
    """

    name: str
    file: Path | None
    foreground: bool = True
    quaternion: Quaternion = (1.0, 0.0, 0.0, 0.0)
    position: Vector = (0.0, 0.0, 0.0)
    half_size: Vector = (0.0, 0.0, 0.0)
    color: Vector = (1.0, 1.0, 1.0)
    metallic: float | None = None
    roughness: float | None = None
    specular: float | None = None


@dataclass(frozen=True, slots=True)
class Light:
    """A directional light without position; grey ``intensity``."""

    direction: Vector
    intensity: float
    shadow: bool = False


@dataclass(frozen=True, slots=True)
class CameraLook:
    """A pinhole camera that moves with the body ``mount``.

    Attributes:
        mount: name of a body. position, quaternion: on it (x forward, z up). focal, center: pixels (x, y).
        near, far: m.
    """

    name: str
    mount: str
    position: Vector
    quaternion: Quaternion
    width: int
    height: int
    focal: tuple[float, float]
    center: tuple[float, float]
    near: float
    far: float


@dataclass(frozen=True, slots=True)
class Look:
    """Everything that decides a picture but the poses of the bodies.

    Attributes:
        photo: shown wherever no foreground body is; None: nothing is overlaid.
    """

    robots: tuple[UrdfLook, ...]
    meshes: tuple[MeshLook, ...]
    lights: tuple[Light, ...]
    ambient: float
    camera: CameraLook
    photo: Path | None
