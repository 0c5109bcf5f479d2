"""The convex pieces of a collision mesh, cut as SAPIEN 2 cut them.

SAPIEN 2 makes one hull of every connected part of every object of an OBJ file; SAPIEN 3 one of every object. It shows:
the spoon's single object has four parts, and as one hull it weighs 79 % more.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

#: A hull needs a tetrahedron.
MIN_VERTICES = 4


@cache
def convex_pieces(path: Path) -> tuple[NDArray[np.float32], ...]:
    """Vertices float32[V, 3] (m) of each piece of an OBJ file, in the order in which the faces name them.

    Vertices at the same place count as one, so parts that touch in a vertex are one piece. The order matters a little:
    hulls of many vertices are made of some of them.
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


def _parts(corners: NDArray[np.intp], face_sizes: list[int], num_points: int) -> list[NDArray[np.intp]]:
    """Indices of the points of each connected part; ``corners`` holds the faces' corners one after the other."""
    starts = np.concatenate([[0], np.cumsum(face_sizes)])
    anchors = np.repeat(corners[starts[:-1]], face_sizes)
    links = coo_array((np.ones(len(corners)), (anchors, corners)), shape=(num_points, num_points))
    count, label = connected_components(links, directed=False)
    return [np.flatnonzero(label == part) for part in range(count)]
