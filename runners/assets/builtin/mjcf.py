"""Rows of the table to MJCF text, in the structure that LIBERO's loader expects.

``worldbody > body > body "object"`` with three placement sites beside ``object``. Geom group 0 collides and weighs,
group 1 is drawn; the loader renames bodies, sites, joints and assets with the instance's name.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from runners.assets.builtin.model import Body, Inertial, Joint, ObjectRow, Shown, Site, Solid
from runners.assets.builtin.shapes import IDENTITY, Geom, Look, Mesh

#: Contact numbers measured on every object of LIBERO.
CONTACT = {"friction": "0.95 0.3 0.1", "solref": "0.001 1", "solimp": "0.998 0.998 0.001", "condim": "3"}


def numbers(values: Iterable[float]) -> str:
    """Decimal text with 0.01 mm and enough digits for small masses; never ``-0``, so equal on every machine."""
    return " ".join(f"{round(v, 6) + 0.0:.6f}".rstrip("0").rstrip(".") for v in values)


def object_xml(row: ObjectRow, texture_file: dict[str, str]) -> str:
    """The file of one object. ``texture_file``: picture name -> path relative to the file."""
    root = ET.Element("mujoco", model=row.category)
    assets = _Assets(ET.SubElement(root, "asset"), texture_file)
    holder = ET.SubElement(ET.SubElement(root, "worldbody"), "body")
    _write_body(ET.SubElement(holder, "body", name="object"), row.body, assets)
    for name, pos in (
        ("bottom_site", (0.0, 0.0, row.bottom_z)),
        ("top_site", (0.0, 0.0, row.top_z)),
        ("horizontal_radius_site", (row.radius, row.radius, 0.0)),
    ):
        ET.SubElement(holder, "site", name=name, pos=numbers(pos), size="0.005", rgba="0 0 0 0")
    return to_text(root)


def to_text(root: ET.Element) -> str:
    """Indented text with a final newline."""
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


class _Assets:
    """Meshes and materials of one file, each written once."""

    def __init__(self, element: ET.Element, texture_file: dict[str, str]) -> None:
        self._element = element
        self._texture_file = texture_file
        self._materials: dict[str, Look] = {}
        self._meshes: list[Mesh] = []

    def material(self, look: Look) -> str:
        """Name of the material, written at its first use."""
        if (known := self._materials.setdefault(look.name, look)) is not look and known != look:
            raise ValueError(f"look {look.name!r}: two different looks with one name in one object; rename one")
        if known is look and self._element.find(f"./material[@name='{look.name}']") is None:
            add_material(self._element, look, self._texture_file)
        return look.name

    def mesh(self, mesh: Mesh) -> str:
        """Name of the mesh, written at its first use."""
        if mesh not in self._meshes:
            self._meshes.append(mesh)
            ET.SubElement(
                self._element,
                "mesh",
                name=f"lathe{len(self._meshes)}",
                vertex="  ".join(numbers(v) for v in mesh.vertices),
                face="  ".join(" ".join(map(str, f)) for f in mesh.faces),
            )
        return f"lathe{self._meshes.index(mesh) + 1}"


def add_material(assets: ET.Element, look: Look, texture_file: dict[str, str]) -> None:
    """Write a material and its texture. Nothing reflects: reflection doubles the time of a frame."""
    attributes = {
        "name": look.name,
        "rgba": f"{numbers(look.rgb)} 1",
        "specular": numbers([look.specular]),
        "shininess": numbers([look.shininess]),
    }
    if look.texture is not None:
        ET.SubElement(assets, "texture", name=f"tex-{look.name}", type=look.mapping, file=texture_file[look.texture])
        attributes["texture"] = f"tex-{look.name}"
    ET.SubElement(assets, "material", attributes)


def _write_body(element: ET.Element, body: Body, assets: _Assets) -> None:
    if body.inertial is not None:
        _write_inertial(element, body.inertial)
    if body.joint is not None:
        _write_joint(element, body.joint)
    for part in body.parts:
        _write_part(element, part, assets)
    for site in body.sites:
        _write_site(element, site)
    for child in body.children:
        _write_body(ET.SubElement(element, "body", name=child.name, pos=numbers(child.pos)), child, assets)


def _write_part(element: ET.Element, part: Solid | Shown, assets: _Assets) -> None:
    for geom in part.part.geoms():
        if isinstance(part, Solid):
            _write_geom(element, geom, {"group": "0", "rgba": "0.5 0.5 0.5 0.3", **CONTACT}, assets)
        if part.look is not None:
            shown = {"group": "1", "contype": "0", "conaffinity": "0", "material": assets.material(part.look)}
            _write_geom(element, geom, shown, assets)


def _write_geom(element: ET.Element, geom: Geom, attributes: dict[str, str], assets: _Assets) -> None:
    place = {"type": geom.kind, "pos": numbers(geom.pos)}
    if geom.size:
        place["size"] = numbers(geom.size)
    if geom.quat != IDENTITY:
        place["quat"] = numbers(geom.quat)
    if geom.mesh is not None:
        place["mesh"] = assets.mesh(geom.mesh)
    ET.SubElement(element, "geom", {**place, **attributes})


def _write_inertial(element: ET.Element, inertial: Inertial) -> None:
    ET.SubElement(
        element,
        "inertial",
        pos=numbers(inertial.centre),
        mass=f"{inertial.mass:.7f}",
        diaginertia=" ".join(f"{v:.4e}" for v in inertial.inertia),
    )


def _write_joint(element: ET.Element, joint: Joint) -> None:
    ET.SubElement(
        element,
        "joint",
        name=joint.name,
        type=joint.kind,
        axis=numbers(joint.axis),
        limited="true",
        range=numbers(joint.limits),
        damping=numbers([joint.damping]),
    )


def _write_site(element: ET.Element, site: Site) -> None:
    ET.SubElement(
        element,
        "site",
        name=site.name,
        type=site.kind,
        pos=numbers(site.pos),
        quat=numbers(site.quat),
        size=numbers(site.size),
        rgba=numbers(site.rgba),
    )
