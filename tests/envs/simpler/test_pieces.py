"""Collision meshes are cut into the pieces that SAPIEN 2 made of them."""

from __future__ import annotations

import numpy as np
import pytest

from runners.envs.simpler.pieces import convex_pieces

CUBE = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
QUADS = [(1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4)]


def cube(shift, first):
    """OBJ lines of a unit cube with its own eight vertices."""
    lines = [f"v {x + shift[0]} {y + shift[1]} {z + shift[2]}" for x, y, z in CUBE]
    return lines + ["f " + " ".join(f"{corner + first}//1" for corner in quad) for quad in QUADS]


def pieces_of(tmp_path, lines):
    path = tmp_path / "collision.obj"
    path.write_text("\n".join(lines))
    return convex_pieces(path)


def test_one_object_of_two_parts_is_two_pieces(tmp_path):
    pieces = pieces_of(tmp_path, ["o both", *cube((0, 0, 0), 0), *cube((3, 0, 0), 8)])
    assert [len(piece) for piece in pieces] == [8, 8]
    assert pieces[1][:, 0].min() == 3.0


def test_parts_that_touch_in_a_vertex_are_one_piece(tmp_path):
    pieces = pieces_of(tmp_path, [*cube((0, 0, 0), 0), *cube((1, 1, 1), 8)])
    assert [len(piece) for piece in pieces] == [15]


def test_objects_are_apart_even_where_they_touch(tmp_path):
    pieces = pieces_of(tmp_path, ["o a", *cube((0, 0, 0), 0), "o b", *cube((1, 1, 1), 8)])
    assert [len(piece) for piece in pieces] == [8, 8]


def test_a_lone_triangle_makes_no_piece(tmp_path):
    assert pieces_of(tmp_path, ["v 0 0 0", "v 1 0 0", "v 0 1 0", "f 1 2 3"]) == ()


@pytest.mark.parametrize(
    ("model", "count"), [("bridge_spoon_generated_modified", 4), ("table_cloth_generated_shorter", 3)]
)
def test_counts_of_the_original(maniskill, model, count):
    from runners.envs.simpler.objects import MODELS

    pieces = convex_pieces(maniskill.root / MODELS / model / "collision.obj")
    assert len(pieces) == count
    assert all(piece.dtype == np.float32 and piece.shape[1] == 3 for piece in pieces)
