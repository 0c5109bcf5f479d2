"""The room that LIBERO's suites load: with a table, or with the floor as workplace."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from runners.assets.builtin.mjcf import add_material, numbers, to_text
from runners.assets.builtin.shapes import Look

TABLE_ARENA_PATH = "scenes/libero_tabletop_base_style.xml"
FLOOR_ARENA_PATH = "scenes/libero_floor_base_style.xml"

#: (name, position, direction, diffuse, ambient): a key light from the camera's side, a weaker one from behind it.
#: Side light keeps upright inner walls from turning black; none casts a shadow.
_LIGHTS = (
    ("light1", (1.5, 1.0, 4.0), (-0.50, -0.35, -0.79), 0.52, 0.14),
    ("light2", (-2.0, -2.0, 4.0), (0.35, 0.50, -0.79), 0.26, 0.0),
)

#: (name, position, half sizes, quaternion): walls around the table.
_WALLS = (
    ("wall_rear", (-2.0, 0.0, 1.5), (1.5, 3.0, 0.01), (0.5, 0.5, 0.5, 0.5)),
    ("wall_left", (0.0, 3.0, 1.5), (3.0, 1.5, 0.01), (0.7071, -0.7071, 0.0, 0.0)),
    ("wall_right", (0.0, -3.0, 1.5), (3.0, 1.5, 0.01), (0.7071, 0.7071, 0.0, 0.0)),
    ("wall_front", (3.0, 0.0, 1.5), (1.5, 3.0, 0.01), (0.5, 0.5, -0.5, -0.5)),
)

_CAMERAS = (
    ("frontview", (1.0, 0.0, 1.45), (0.56, 0.43, 0.43, 0.56)),
    ("birdview", (-0.2, 0.0, 3.0), (0.7071, 0.0, 0.0, 0.7071)),
    ("agentview", (0.5, 0.0, 1.35), (0.653, 0.271, 0.271, 0.653)),
    ("sideview", (-0.0565, 1.2761, 1.4880), (0.0099, 0.0069, 0.5912, 0.8064)),
)


def table_arena_xml(texture_file: dict[str, str]) -> str:
    """The arena with a table. LIBERO's code sets the table's size, place and friction, and names the two pictures."""
    root, assets, world = _room("table_arena", texture_file, floor_repeat="4 4")
    add_material(assets, Look("table-wood", (1.0, 1.0, 1.0), "table-wood", specular=0.15), texture_file)
    add_material(assets, Look("table-legs", (0.55, 0.52, 0.50), specular=0.4), texture_file)
    _add_floor(world)
    _add_walls(world)
    _add_table(world)
    _add_lights_and_cameras(world)
    return to_text(root)


def floor_arena_xml(texture_file: dict[str, str]) -> str:
    """The arena without a table. LIBERO's code hangs its regions into the body ``floor``."""
    root, _, world = _room("floor_arena", texture_file, floor_repeat="12 12")
    _add_floor(ET.SubElement(world, "body", name="floor", pos="0 0 0"))
    _add_walls(world)
    _add_lights_and_cameras(world)
    return to_text(root)


def _room(model: str, texture_file: dict[str, str], floor_repeat: str) -> tuple[ET.Element, ET.Element, ET.Element]:
    """Root, assets with the surfaces of floor and walls, and the empty world body."""
    root = ET.Element("mujoco", model=model)
    assets = ET.SubElement(root, "asset")
    _surface(assets, "texplane", "floor-tiles", texture_file["light-gray-floor-tile"], floor_repeat)
    _surface(assets, "tex-wall", "wall-plaster", texture_file["light-gray-plaster"], "3 2")
    return root, assets, ET.SubElement(root, "worldbody")


def _add_floor(parent: ET.Element) -> None:
    ET.SubElement(
        parent, "geom", name="floor", type="plane", size="3 3 .125", pos="0 0 0", condim="3", group="1",
        material="floor-tiles",
    )  # fmt: skip


def _add_walls(world: ET.Element) -> None:
    for name, pos, half, quat in _WALLS:
        ET.SubElement(
            world, "geom", name=f"{name}_visual", type="box", pos=numbers(pos), size=numbers(half), quat=numbers(quat),
            group="1", contype="0", conaffinity="0", material="wall-plaster",
        )  # fmt: skip


def _add_lights_and_cameras(world: ET.Element) -> None:
    for name, pos, direction, diffuse, ambient in _LIGHTS:
        ET.SubElement(
            world, "light", name=name, pos=numbers(pos), dir=numbers(direction), directional="true", castshadow="false",
            diffuse=numbers([diffuse] * 3), ambient=numbers([ambient] * 3), specular="0.2 0.2 0.2",
        )  # fmt: skip
    for name, pos, quat in _CAMERAS:
        ET.SubElement(world, "camera", name=name, mode="fixed", pos=numbers(pos), quat=numbers(quat))


def _surface(assets: ET.Element, texture: str, material: str, file: str, repeat: str) -> None:
    """A textured surface whose texture name LIBERO's code looks up."""
    ET.SubElement(assets, "texture", name=texture, type="2d", file=file)
    ET.SubElement(assets, "material", name=material, texture=texture, texrepeat=repeat, specular="0.1", shininess="0.1")


def _add_table(world: ET.Element) -> None:
    table = ET.SubElement(world, "body", name="table", pos="0 0 0.875")
    size = "0.5 0.6 0.025"  # LIBERO's code writes its own
    ET.SubElement(table, "geom", name="table_collision", type="box", size=size, group="0", rgba="0.5 0.5 0.5 0")
    ET.SubElement(
        table, "geom", name="table_visual", type="box", size=size, group="1", contype="0", conaffinity="0",
        material="table-wood",
    )  # fmt: skip
    for leg in range(1, 5):
        ET.SubElement(
            table, "geom", name=f"table_leg{leg}_visual", type="cylinder", size="0.025 0.4", group="1", contype="0",
            conaffinity="0", material="table-legs",
        )  # fmt: skip
    ET.SubElement(table, "site", name="table_top", pos="0 0 0.025", size="0.001", rgba="0 0 0 0")
