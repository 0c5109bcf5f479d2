"""Geometry for the scripted experts: how far the arm reaches, what stands where. Metres, world frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runners.envs.libero_state import LiberoState

# With the hand pointing down the elbow locks on a sphere around the shoulder; beyond it the OSC controller gets no
# radial motion and the hand slides sideways for ever. Radius and centre were measured in the simulator.
SHOULDER_HEIGHT = 0.123  # above the base, of the grip site level with the shoulder
ELBOW_RADIUS = 0.69
WRIST_OFFSET = 0.088
REACH_MARGIN = 0.012

COLUMN_SPHERE = 0.010  # radius of the spheres that sample a column


def max_reach(height: float) -> float:
    """Largest horizontal distance from the base axis at which a hand pointing down still moves freely.

    ``height``: of the grip site above the base.
    """
    return WRIST_OFFSET + math.sqrt(max(0.0, ELBOW_RADIUS**2 - (height - SHOULDER_HEIGHT) ** 2))


def clamp_to_reach(target: NDArray[np.float64], base: NDArray[np.float64]) -> NDArray[np.float64]:
    """``target`` float64[3], pulled towards the base axis where it lies outside the reach."""
    offset = target[:2] - base[:2]
    limit = max_reach(float(target[2] - base[2])) - REACH_MARGIN
    scale = min(1.0, limit / max(float(np.linalg.norm(offset)), 1e-9))
    return np.array([*(base[:2] + scale * offset), target[2]])


@dataclass(frozen=True, slots=True)
class Obstacles:
    """Collision geoms as oriented boxes; other shapes by their bounding boxes.

    Attributes:
        centres: float64[G, 3]. rotations: float64[G, 3, 3], columns are the box axes. halves: float64[G, 3].
    """

    centres: NDArray[np.float64]
    rotations: NDArray[np.float64]
    halves: NDArray[np.float64]

    @classmethod
    def of(cls, state: LiberoState, without: tuple[str, ...]) -> Obstacles:
        """Every colliding geom of the scene except those of the robot and of the objects in ``without``."""
        model = state.model
        ignored = np.zeros(model.nbody, dtype=bool)
        for body in range(model.nbody):
            if model.body(body).name.startswith(("robot0_", "gripper0_", "mount0_")):
                ignored[body] = True
        for name in without:
            ignored |= state.subtree(state.root_bodies[name])
        return cls._boxes(state, ~ignored)

    @classmethod
    def of_object(cls, state: LiberoState, name: str) -> Obstacles:
        """The colliding geoms of one object."""
        return cls._boxes(state, state.subtree(state.root_bodies[name]))

    @classmethod
    def _boxes(cls, state: LiberoState, bodies: NDArray[np.bool_]) -> Obstacles:
        """The colliding geoms of the chosen bodies, bool[nbody]."""
        model, data = state.model, state.data
        collides = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
        finite = (model.geom_aabb[:, 3:] < 10.0).all(axis=1)  # planes have none
        geoms = np.flatnonzero(collides & finite & bodies[model.geom_bodyid])
        rotations = data.geom_xmat[geoms].reshape(-1, 3, 3)
        local_centres = model.geom_aabb[geoms, :3]
        centres = data.geom_xpos[geoms] + np.einsum("gij,gj->gi", rotations, local_centres)
        return cls(centres=centres, rotations=rotations.copy(), halves=model.geom_aabb[geoms, 3:].copy())

    def corners(self) -> NDArray[np.float64]:
        """Corners of every box, float64[G, 8, 3]."""
        signs = np.stack(np.meshgrid([-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0], indexing="ij"), axis=-1).reshape(8, 3)
        return self.centres[:, None] + np.einsum("gij,gcj->gci", self.rotations, signs[None] * self.halves[:, None])

    def distances(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance of each point to the nearest box, float64[N]; 0 inside. ``points``: float64[N, 3]."""
        local = np.einsum("gij,ngi->ngj", self.rotations, points[:, None, :] - self.centres[None])
        outside = np.maximum(np.abs(local) - self.halves[None], 0.0)
        return np.linalg.norm(outside, axis=-1).min(axis=1)

    def free_column(self, centre: NDArray[np.float64], radius: float, bottom: float, top: float) -> bool:
        """Whether an upright cylinder around ``centre``, float64[2], is empty: sampled by spheres that leave no gap."""
        angles = np.arange(16) * (math.pi / 8)
        circle = (radius - COLUMN_SPHERE) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        rings = np.concatenate([share * circle for share in (0.0, 0.33, 0.67, 1.0)]) + centre[:2]
        ends = bottom + COLUMN_SPHERE, top - COLUMN_SPHERE
        heights = np.linspace(*ends, max(2, math.ceil((top - bottom) / COLUMN_SPHERE)))
        points = np.concatenate([np.column_stack([rings, np.full(len(rings), h)]) for h in heights])
        return bool((self.distances(points) > COLUMN_SPHERE).all())

    def top_along(self, start: NDArray[np.float64], end: NDArray[np.float64], width: float) -> float:
        """Height of the highest box within ``width`` of the straight way from ``start`` to ``end`` (xy only)."""
        reach = np.einsum("gij,gj->gi", np.abs(self.rotations), self.halves)  # half sizes along the world axes
        way = end[:2] - start[:2]
        along = (self.centres[:, :2] - start[:2]) @ way / max(float(way @ way), 1e-12)
        nearest = start[:2] + np.clip(along, 0.0, 1.0)[:, None] * way
        gap = np.maximum(np.abs(self.centres[:, :2] - nearest) - reach[:, :2], 0.0)
        near = np.linalg.norm(gap, axis=1) < width
        tops = self.centres[near, 2] + reach[near, 2]
        return float(tops.max()) if tops.size else -math.inf
