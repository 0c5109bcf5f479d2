"""The generated files: the same bytes everywhere, and what LIBERO's loader and the renderer rely on."""

from __future__ import annotations

import collections
import io
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runners.assets.builtin import GENERATOR_VERSION, builtin_files, files_digest
from runners.assets.builtin.mjcf import numbers
from runners.assets.builtin.shapes import Lathe, Ring
from runners.assets.builtin.textures import TEXTURES, png

#: Digest of what each generator version makes. A change of shape, mass or colour needs a new version: results of
#: different files must not meet in one table.
DIGESTS = {"1": "2ab7743c45e0306c153417f7f2e486feb7bc1f7a8b1cd579ac378f08cfd7045c"}


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return builtin_files()


def test_digest_belongs_to_the_version(files: dict[str, bytes]) -> None:
    assert files_digest(files) == DIGESTS[GENERATOR_VERSION]


def test_another_process_makes_the_same_bytes(files: dict[str, bytes], repo_root: Path) -> None:
    code = "from runners.assets.builtin import *; print(files_digest(builtin_files()))"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "LC_ALL": "C", "PYTHONPATH": str(repo_root)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == files_digest(files)


def test_needs_no_simulator(repo_root: Path) -> None:
    code = (
        "import sys; from runners.assets.builtin import builtin_files; builtin_files();"
        "print(sorted({'torch', 'mujoco', 'robosuite', 'libero', 'hydra'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(repo_root)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def xml_files(files: dict[str, bytes]) -> list[tuple[str, ET.Element]]:
    return [(name, ET.fromstring(data)) for name, data in files.items() if name.endswith(".xml")]


def test_geom_groups(files: dict[str, bytes]) -> None:
    """LIBERO reads ``int(group)`` of every geom; the visual group must not collide."""
    for name, root in xml_files(files):
        for geom in root.iter("geom"):
            assert geom.get("group") in ("0", "1"), name
            if geom.get("group") == "1" and geom.get("name") != "floor":
                assert (geom.get("contype"), geom.get("conaffinity")) == ("0", "0"), name


def test_collision_parts_are_boxes(files: dict[str, bytes]) -> None:
    """A cylinder rests on one contact point, a mesh costs a hull."""
    for name, root in xml_files(files):
        kinds = {geom.get("type") for geom in root.iter("geom") if geom.get("group") == "0"}
        assert kinds <= {"box"}, name


def test_nothing_reflects_and_files_exist(files: dict[str, bytes]) -> None:
    for name, root in xml_files(files):
        assert not [m for m in root.iter("material") if m.get("reflectance")], name
        for node in root.iter():
            if (link := node.get("file")) is not None:
                assert os.path.normpath(os.path.join(os.path.dirname(name), link)) in files, f"{name}: {link}"


def test_asset_names_are_unique_in_a_file(files: dict[str, bytes]) -> None:
    """robosuite drops the second of two equal names silently."""
    for name, root in xml_files(files):
        counts = collections.Counter((n.tag, n.get("name")) for n in root.iter() if n.get("name"))
        assert max(counts.values()) == 1, f"{name}: {counts.most_common(2)}"


def test_bodies_without_sites_come_last(files: dict[str, bytes]) -> None:
    """LIBERO's search for sites stops at the first body that has none in it."""
    for name, root in xml_files(files):
        if not name.startswith("articulated_objects"):
            continue
        bodies = root.find("./worldbody/body").findall(".//body")
        have_site = [body.find(".//site") is not None for body in bodies]
        assert have_site == sorted(have_site, reverse=True), name


def test_pictures_decode(files: dict[str, bytes]) -> None:
    for name, draw in TEXTURES.items():
        picture = draw()
        decoded = np.asarray(Image.open(io.BytesIO(files[f"textures/{name}.png"])))
        assert decoded.shape == picture.shape
        assert np.abs(decoded / 255.0 - np.clip(picture, 0, 1)).max() <= 0.5 / 255 + 1e-9
        assert decoded.std() > 1, f"{name} is one flat colour"


def test_png_of_more_than_one_block() -> None:
    picture = (np.arange(200 * 200 * 3) % 251).reshape(200, 200, 3) / 255.0
    assert picture.size > 65535
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png(picture)))), np.round(picture * 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("values", "text"),
    [((0.0, -0.0, -1e-9), "0 0 0"), ((0.1, -2.5, 100.0), "0.1 -2.5 100"), ((1e-6, 2 / 3), "0.000001 0.666667")],
)
def test_numbers(values: tuple[float, ...], text: str) -> None:
    assert numbers(values) == text


def test_lathe_is_closed_and_faces_outwards() -> None:
    """A ring with a square section: every edge has two faces of opposite direction, and the volume is Pappus'."""
    mesh = Lathe(((0.04, 0.0), (0.06, 0.0), (0.06, 0.01), (0.04, 0.01)), segments=64).geoms()[0].mesh
    assert mesh is not None
    edges = collections.Counter((f[i], f[(i + 1) % 3]) for f in mesh.faces for i in range(3))
    assert set(edges.values()) == {1}
    assert all((b, a) in edges for a, b in edges)
    corners = np.asarray(mesh.vertices)[np.asarray(mesh.faces)]
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume == pytest.approx(2 * np.pi * 0.05 * 0.02 * 0.01, rel=0.01)


@pytest.mark.parametrize("touches_axis", [True, False])
def test_lathe_on_the_axis_has_no_double_vertices(touches_axis: bool) -> None:
    inner = 0.0 if touches_axis else 0.01
    mesh = Lathe(((inner, 0.0), (0.05, 0.0), (0.05, 0.02), (inner, 0.02)), segments=12).geoms()[0].mesh
    assert mesh is not None
    assert len(set(mesh.vertices)) == len(mesh.vertices) == (26 if touches_axis else 48)


def test_ring_follows_its_line() -> None:
    """The ends of each leaning box lie on the two given circles, and neighbours meet at the wider end."""
    ring = Ring(8, (0.03, 0.0), (0.06, 0.02), 0.004)
    for side, geom in enumerate(ring.geoms()):
        w, x, y, z = geom.quat
        along = np.array([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)])
        across = np.array([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)])
        ends = [np.asarray(geom.pos) + sign * along * geom.size[2] for sign in (-1, 1)]
        direction = np.array([np.cos(side * np.pi / 4), np.sin(side * np.pi / 4)])
        assert ends[0] == pytest.approx([*(0.03 * direction), 0.0], abs=1e-9)
        assert ends[1] == pytest.approx([*(0.06 * direction), 0.02], abs=1e-9)
        corner = ends[1] + across * geom.size[1]
        assert np.hypot(*corner[:2]) == pytest.approx(0.06 / np.cos(np.pi / 8))
