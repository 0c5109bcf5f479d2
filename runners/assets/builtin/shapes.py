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
class Prism:
    """An upright prism with an even number of ``sides``, made of boxes through the z axis.

    Attributes:
        radius: of the circle inside it, m. z: lower and upper end, m. Neighbouring boxes meet at the corners.
    """

    sides: int
    radius: float
    z: tuple[float, float]

    def geoms(self) -> tuple[Geom, ...]:
        """One box for two opposite sides."""
        low, high = self.z
        half = (self.radius, self.radius * math.tan(math.pi / self.sides), (high - low) / 2)
        yaws = (2 * math.pi * k / self.sides for k in range(self.sides // 2))
        return tuple(Geom("box", (0.0, 0.0, (low + high) / 2), half, _yaw_then_lean(yaw, 0.0)) for yaw in yaws)


@dataclass(frozen=True, slots=True)
class Placed:
    """Another part, turned by ``quat`` (w, x, y, z) and then moved by ``pos`` (m)."""

    part: Part
    pos: Vector = (0.0, 0.0, 0.0)
    quat: Quaternion = IDENTITY

    def geoms(self) -> tuple[Geom, ...]:
        """The geoms of the part, in its order."""
        return tuple(self._place(geom) for geom in self.part.geoms())

    def _place(self, geom: Geom) -> Geom:
        x, y, z = rotate(self.quat, geom.pos)
        pos = (x + self.pos[0], y + self.pos[1], z + self.pos[2])
        return Geom(geom.kind, pos, geom.size, multiply(self.quat, geom.quat), geom.mesh)


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
    """A closed profile of (radius, z) points turned around the z axis; counter-clockwise with r right and z up.

    ``flatten`` scales y: flat bottles are lathes pressed together.
    """

    profile: tuple[tuple[float, float], ...]
    segments: int = 32
    flatten: float = 1.0

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
            vertices.extend((radius * math.cos(a), radius * math.sin(a) * self.flatten, z) for a in angles)
        faces = []
        for row, after in zip(rows, rows[1:] + rows[:1], strict=True):
            for k in range(self.segments):
                n = (k + 1) % self.segments
                quad = (row[k], row[n], after[n], after[k])
                faces += [f for f in ((quad[0], quad[1], quad[2]), (quad[0], quad[2], quad[3])) if len(set(f)) == 3]
        return Mesh(tuple(vertices), tuple(faces))


def turn_about(axis: Vector, degrees: float) -> Quaternion:
    """Rotation about a unit ``axis``."""
    half = math.radians(degrees) / 2
    x, y, z = (c * math.sin(half) for c in axis)
    return (math.cos(half), x, y, z)


def multiply(a: Quaternion, b: Quaternion) -> Quaternion:
    """The rotation ``a`` after ``b``."""
    w, x, y, z = a
    p, q, r, s = b
    return (
        w * p - x * q - y * r - z * s,
        w * q + x * p + y * s - z * r,
        w * r - x * s + y * p + z * q,
        w * s + x * r - y * q + z * p,
    )


def rotate(quat: Quaternion, point: Vector) -> Vector:
    """``point`` turned by ``quat``."""
    w, x, y, z = quat
    _, *turned = multiply(multiply(quat, (0.0, *point)), (w, -x, -y, -z))
    return _vector(tuple(turned))


def _yaw_then_lean(yaw: float, lean: float) -> Quaternion:
    """Rotation about z by ``yaw`` after one about y by ``lean``."""
    cz, sz, cy, sy = math.cos(yaw / 2), math.sin(yaw / 2), math.cos(lean / 2), math.sin(lean / 2)
    return (cz * cy, -sz * sy, cz * sy, sz * cy)


def _vector(values: tuple[float, ...]) -> Vector:
    x, y, z = values
    return (x, y, z)
