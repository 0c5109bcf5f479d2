"""The convex pieces of a collision mesh, cut as SAPIEN 2 cut them.

SAPIEN 2 makes one hull of every connected part of every object of an OBJ file; SAPIEN 3 one of every object. It shows:
the spoon's single object has four parts, and as one hull it weighs 79 % more.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: A hull needs a tetrahedron.
MIN_VERTICES = 4


@cache
def convex_pieces(path: Path) -> tuple[NDArray[np.float32], ...]:
    """Vertices float32[V, 3] (m) of each piece of an OBJ file, in SAPIEN 2's order.

    Vertices at the same place count as one, so parts that touch in a vertex are one piece. The order matters: PhysX
    leaves out vertices that are nearly in the plane of others, and which those are depends on it. In this order every
    hull is that of SAPIEN 2, in another the bottle and the cans get another bottom and rest elsewhere.
    """
    pieces: list[NDArray[np.float32]] = []
    vertices, groups = _read_obj(path)
    for faces in groups:
        points, corners = _merge_equal(vertices[np.concatenate(faces)])
        for part in _parts(corners, [len(face) for face in faces], len(points)):
            if len(part) >= MIN_VERTICES:
                pieces.append(points[part].astype(np.float32))
    return tuple(pieces)


def _read_obj(path: Path) -> tuple[NDArray[np.float64], list[list[list[int]]]]:
    """All vertices float64[N, 3], and for each object its faces as lists of vertex indices."""
    vertices: list[list[float]] = []
    groups: list[list[list[int]]] = [[]]
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(number) for number in rest.split()[:3]])
        elif kind == "o":
            groups.append([])
        elif kind == "f":
            indices = [int(corner.split("/")[0]) for corner in rest.split()]
            groups[-1].append([i - 1 if i > 0 else len(vertices) + i for i in indices])
    return np.array(vertices), [faces for faces in groups if faces]


def _merge_equal(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Distinct points in order of first appearance, and for each of the old ones its new index."""
    _, first, inverse = np.unique(points, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return points[first[order]], rank[inverse.ravel()]


def _parts(corners: NDArray[np.intp], face_sizes: list[int], num_points: int) -> list[list[int]]:
    """Indices of the points of each connected part, in SAPIEN 2's order; ``corners`` as faces one after the other.

    It visits the points depth first: the point found last is the next whose neighbours are listed, lowest index first.
    """
    neighbours: list[set[int]] = [set() for _ in range(num_points)]
    for one, other in _edges(corners.tolist(), face_sizes):
        neighbours[one].add(other)
        neighbours[other].add(one)
    parts: list[list[int]] = []
    seen = [False] * num_points
    for first in range(num_points):
        if seen[first]:
            continue
        seen[first] = True
        part, waiting = [first], [first]
        while waiting:
            found = [point for point in sorted(neighbours[waiting.pop()]) if not seen[point]]
            for point in found:
                seen[point] = True
            part += found
            waiting += found
        parts.append(part)
    return parts


def _edges(corners: list[int], face_sizes: list[int]) -> Iterator[tuple[int, int]]:
    """Of the triangles into which faces are cut, all from their first corner."""
    start = 0
    for size in face_sizes:
        first, *rest = corners[start : start + size]
        for second, third in pairwise(rest):
            yield from ((first, second), (second, third), (third, first))
        start += size
