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


def test_vertices_come_depth_first_as_in_sapien_2(tmp_path):
    """The lowest neighbours are listed, then those of the one found last: which vertices a hull keeps depends on it."""
    faces = ["f 1 2 3", "f 2 3 4", "f 2 4 5", "f 3 4 6"]
    vertices = [f"v {x} {x**2} {x**3}" for x in range(6)]
    (piece,) = pieces_of(tmp_path, [*vertices, *faces])
    assert piece[:, 0].tolist() == [0, 1, 2, 3, 5, 4]


def test_quads_are_cut_from_their_first_corner(tmp_path):
    vertices = [f"v {x} {x**2} {x**3}" for x in range(5)]
    (piece,) = pieces_of(tmp_path, [*vertices, "f 1 2 3 4", "f 2 4 5"])
    assert piece[:, 0].tolist() == [0, 1, 2, 3, 4]


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


# As SAPIEN 2.2.2 reports them, for 1000 kg/m^3; in the order of the file the bottle weighs 0.15 % more.
@pytest.mark.parametrize(
    ("model", "mass"),
    [("blue_plastic_bottle", 0.570686), ("opened_7up_can", 0.392916), ("opened_redbull_can", 0.357745)],
)
def test_hulls_weigh_what_the_originals_weigh(maniskill, model, mass):
    import sapien

    from runners.envs.simpler.objects import MODELS, ObjectModel, add_object, body_of

    entity = add_object(
        sapien.Scene([sapien.physx.PhysxCpuSystem()]),
        ObjectModel(model, maniskill.root / MODELS / model, (1.0, 1.0, 1.0), 1000.0),
        sapien.Pose(),
    )
    assert body_of(entity).mass == pytest.approx(mass, rel=5e-6)
