"""Plane geometry of layouts, and what the front camera sees. Metres and radians."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Point = NDArray[np.float64]
Interval = tuple[float, float]

#: LIBERO's agentview on a table: centre, rotation (columns are right, up, backward), tangent of half the angle of view.
CAMERA_POSITION = np.array([0.6586131746834771, 0.0, 1.6103500240372423])
CAMERA_ROTATION = np.array([[0.0, -0.62827, 0.77799], [1.0, 0.0, 0.0], [0.0, 0.77799, 0.62827]])
CAMERA_TANGENT = math.tan(math.radians(45) / 2)
CABINET_HEIGHT = 1.128


@dataclass(frozen=True, slots=True)
class Rectangle:
    """Footprint in the frame of a fixture: corners ``low`` and ``high``, float64[2]."""

    low: tuple[float, float]
    high: tuple[float, float]


#: Footprints of the collision geoms; the cabinet's with closed drawers, and with the top one open.
CABINET_CLOSED = Rectangle((-0.124, -0.110), (0.132, 0.112))
CABINET_OPEN = Rectangle((-0.124, -0.270), (0.132, 0.112))
STOVE_TOP = Rectangle((-0.048, -0.096), (0.246, 0.096))


@dataclass(frozen=True, slots=True)
class Pose:
    """``position`` float64[3] and rotation ``yaw`` about z."""

    position: Point
    yaw: float

    @property
    def quat_wxyz(self) -> NDArray[np.float64]:
        """The rotation as a quaternion, float64[4], scalar first."""
        return np.array([math.cos(self.yaw / 2), 0.0, 0.0, math.sin(self.yaw / 2)])

    def to_world(self, local: Point) -> Point:
        """A point float64[2] of this frame in the world."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return self.position[:2] + np.array([cos * local[0] - sin * local[1], sin * local[0] + cos * local[1]])

    def to_local(self, world: Point) -> Point:
        """A point float64[2] of the world in this frame."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        x, y = world[:2] - self.position[:2]
        return np.array([cos * x + sin * y, -sin * x + cos * y])


def distance_to_rectangle(point: Point, rectangle: Rectangle) -> float:
    """Distance of ``point`` float64[2] to the rectangle, 0 inside; both in the fixture's frame."""
    low, high = np.array(rectangle.low), np.array(rectangle.high)
    return float(np.linalg.norm(np.maximum(np.maximum(low - point, point - high), 0.0)))


def overlap(one: Pose, footprint: Rectangle, other: Pose, other_footprint: Rectangle) -> bool:
    """Whether two footprints share ground: no side of either separates them."""
    corners = [_corners(one, footprint), _corners(other, other_footprint)]
    for pose in (one, other):
        for axis in (pose.to_world(np.array([1.0, 0.0])), pose.to_world(np.array([0.0, 1.0]))):
            (low, high), (other_low, other_high) = (
                (float(along.min()), float(along.max())) for along in (c @ (axis - pose.position[:2]) for c in corners)
            )
            if low > other_high or other_low > high:
                return False
    return True


def _corners(pose: Pose, footprint: Rectangle) -> NDArray[np.float64]:
    """float64[4, 2] in the world."""
    (left, low), (right, high) = footprint.low, footprint.high
    return np.array([pose.to_world(np.array([x, y])) for x in (left, right) for y in (low, high)])


def distance_to_segment(point: Point, start: Point, end: Point) -> float:
    """Distance of ``point`` float64[2] to the segment."""
    way = end - start
    along = float(np.clip((point - start) @ way / (way @ way), 0.0, 1.0))
    return float(np.linalg.norm(point - start - along * way))


def in_picture(point: Point) -> bool:
    """Whether the front camera has ``point`` float64[3] in its picture."""
    x, y, z = CAMERA_ROTATION.T @ (point - CAMERA_POSITION)  # MuJoCo's cameras look along -z
    return bool(z < 0.0 and max(abs(x), abs(y)) <= -z * CAMERA_TANGENT)


def is_hidden_by_cabinet(point: Point, cabinet: Pose) -> bool:
    """Whether the straight line from the front camera to ``point`` float64[3] passes through the closed cabinet."""
    start = np.array([*cabinet.to_local(CAMERA_POSITION), CAMERA_POSITION[2]])
    way = np.array([*cabinet.to_local(point), point[2]]) - start
    low = np.array([*CABINET_CLOSED.low, 0.0])
    high = np.array([*CABINET_CLOSED.high, CABINET_HEIGHT])
    crossings = np.sort(np.stack([low - start, high - start]) / np.where(way == 0.0, 1e-12, way), axis=0)
    return bool(max(0.0, crossings[0].max()) < min(1.0, crossings[1].min()))
