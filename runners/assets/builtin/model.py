"""What one generated file describes: an object or a fixture of LIBERO, in numbers and names."""

from __future__ import annotations

from dataclasses import dataclass

from runners.assets.builtin.shapes import Look, Part, Vector


@dataclass(frozen=True, slots=True)
class Solid:
    """Parts that are both touched and, with ``look``, seen; ``look`` None makes them invisible."""

    part: Part
    look: Look | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A part that is only seen."""

    part: Part
    look: Look


@dataclass(frozen=True, slots=True)
class Inertial:
    """Mass (kg), centre of mass (m) and inertia about it, (xx, yy, zz) in kg m^2, in the body frame."""

    mass: float
    centre: Vector
    inertia: Vector


@dataclass(frozen=True, slots=True)
class Joint:
    """A limited joint: ``slide`` (m) or ``hinge`` (rad), through the body's origin."""

    name: str
    kind: str
    axis: Vector
    limits: tuple[float, float]
    damping: float


@dataclass(frozen=True, slots=True)
class Site:
    """A named region that BDDL goals read. ``quat`` w, x, y, z; ``rgba`` alpha 0 hides it."""

    name: str
    pos: Vector
    size: Vector
    kind: str = "box"
    quat: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    rgba: tuple[float, float, float, float] = (0.8, 0.8, 0.8, 0.0)


@dataclass(frozen=True, slots=True)
class Body:
    """A body with its parts, in its parent's frame."""

    name: str
    pos: Vector = (0.0, 0.0, 0.0)
    parts: tuple[Solid | Shown, ...] = ()
    inertial: Inertial | None = None
    joint: Joint | None = None
    sites: tuple[Site, ...] = ()
    children: tuple[Body, ...] = ()


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """One row of the table: a category of LIBERO.

    Attributes:
        category: LIBERO's name. folder: where its loader looks (``stable_scanned_objects``, ...).
        body: everything inside LIBERO's body ``object``; its own name is not written.
        bottom_z, top_z, radius: placement sites (m) that the reset sampler reads; the same numbers as LIBERO's let
            it draw the same random numbers, and put fixtures at the same height.
    """

    category: str
    folder: str
    body: Body
    bottom_z: float = -0.06
    top_z: float = 0.04
    radius: float = 0.025

    @property
    def path(self) -> str:
        """File below the assets folder."""
        if self.folder == "articulated_objects":
            return f"{self.folder}/{self.category}.xml"
        return f"{self.folder}/{self.category}/{self.category}.xml"
