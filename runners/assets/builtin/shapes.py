"""Parts of which the built-in objects are made, and their expansion into geoms.

Collision parts are boxes only: a box rests on up to eight contact points, a cylinder in MuJoCo on one. Round things
that are only looked at are lathe meshes: smoother than a ring of boxes and cheaper to render than its many geoms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]  # w, x, y, z

IDENTITY: Quaternion = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Look:
    """Surface of a visual part. ``texture`` names a picture of the pack and is multiplied with ``rgb``.

    ``mapping`` is MuJoCo's texture type: ``2d`` projects the picture along z, ``cube`` puts it on all six sides.
    """

    name: str
    rgb: Vector
    texture: str | None = None
    mapping: str = "2d"
    specular: float = 0.2
    shininess: float = 0.3


@dataclass(frozen=True, slots=True)
class Mesh:
    """Triangles of a closed surface, normals outwards, metres."""

    vertices: tuple[Vector, ...]
    faces: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Geom:
    """One MJCF geom in the frame of its body. ``size`` as MuJoCo wants it (half sizes); unused for meshes."""

    kind: str
    pos: Vector
    size: tuple[float, ...] = ()
    quat: Quaternion = IDENTITY
    mesh: Mesh | None = None


class Part(Protocol):
    """Something that expands into geoms."""

    def geoms(self) -> tuple[Geom, ...]:
        """The geoms, in a fixed order."""
        ...


@dataclass(frozen=True, slots=True)
class Box:
    """A box between two opposite corners, m."""

    low: Vector
    high: Vector

    def geoms(self) -> tuple[Geom, ...]:
        """One box."""
        centre = tuple((a + b) / 2 for a, b in zip(self.low, self.high, strict=True))
        half = tuple((b - a) / 2 for a, b in zip(self.low, self.high, strict=True))
        return (Geom("box", _vector(centre), half),)


@dataclass(frozen=True, slots=True)
class Cylinder:
    """An upright cylinder around the z axis: radius, lower and upper end, m. For visual parts only."""

    radius: float
    z: tuple[float, float]

    def geoms(self) -> tuple[Geom, ...]:
        """One cylinder."""
        low, high = self.z
        return (Geom("cylinder", (0.0, 0.0, (low + high) / 2), (self.radius, (high - low) / 2)),)


@dataclass(frozen=True, slots=True)
class Ring:
    """A leaning wall of ``sides`` boxes around the z axis, from ``lower`` to ``upper``.

    Attributes:
        lower, upper: (radius, z) of the middle of the wall, m, at the centre of a side. thickness: of the wall, m.
        Sides meet at the wider end: gaps between them wedge corners of other objects, which then fly off.
    """

    sides: int
    lower: tuple[float, float]
    upper: tuple[float, float]
    thickness: float

    def geoms(self) -> tuple[Geom, ...]:
        """One box a side."""
        (r0, z0), (r1, z1) = self.lower, self.upper
        lean = math.atan2(r1 - r0, z1 - z0)
        half = (
            self.thickness / 2,
            max(r0, r1) * math.tan(math.pi / self.sides),
            math.hypot(r1 - r0, z1 - z0) / 2,
        )
        result = []
        for side in range(self.sides):
            yaw = 2 * math.pi * side / self.sides
            pos = ((r0 + r1) / 2 * math.cos(yaw), (r0 + r1) / 2 * math.sin(yaw), (z0 + z1) / 2)
            result.append(Geom("box", pos, half, _yaw_then_lean(yaw, lean)))
        return tuple(result)


@dataclass(frozen=True, slots=True)
class Lathe:
    """A closed profile of (radius, z) points turned around the z axis; counter-clockwise with r right and z up."""

    profile: tuple[tuple[float, float], ...]
    segments: int = 32

    def geoms(self) -> tuple[Geom, ...]:
        """One mesh."""
        return (Geom("mesh", (0.0, 0.0, 0.0), mesh=self._mesh()),)

    def _mesh(self) -> Mesh:
        vertices: list[Vector] = []
        rows: list[list[int]] = []  # vertex index of every profile point at every segment; one vertex on the axis
        for radius, z in self.profile:
            if radius == 0.0:
                rows.append([len(vertices)] * self.segments)
                vertices.append((0.0, 0.0, z))
                continue
            rows.append(list(range(len(vertices), len(vertices) + self.segments)))
            angles = (2 * math.pi * k / self.segments for k in range(self.segments))
            vertices.extend((radius * math.cos(a), radius * math.sin(a), z) for a in angles)
        faces = []
        for row, after in zip(rows, rows[1:] + rows[:1], strict=True):
            for k in range(self.segments):
                n = (k + 1) % self.segments
                quad = (row[k], row[n], after[n], after[k])
                faces += [f for f in ((quad[0], quad[1], quad[2]), (quad[0], quad[2], quad[3])) if len(set(f)) == 3]
        return Mesh(tuple(vertices), tuple(faces))


def _yaw_then_lean(yaw: float, lean: float) -> Quaternion:
    """Rotation about z by ``yaw`` after one about y by ``lean``."""
    cz, sz, cy, sy = math.cos(yaw / 2), math.sin(yaw / 2), math.cos(lean / 2), math.sin(lean / 2)
    return (cz * cy, -sz * sy, cz * sy, sz * cy)


def _vector(values: tuple[float, ...]) -> Vector:
    x, y, z = values
    return (x, y, z)
