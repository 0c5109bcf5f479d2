"""The table of fixtures: furniture with joints and goal regions. Sources as in ``objects``."""

from __future__ import annotations

from runners.assets.builtin.model import Body, Inertial, Joint, ObjectRow, Shown, Site, Solid
from runners.assets.builtin.shapes import Box, Cylinder, Look, Placed, Vector, turn_about

_STEEL = Look("steel", (0.46, 0.46, 0.48), specular=0.5, shininess=0.5)
_KNOB = Look("knob", (0.10, 0.10, 0.11), specular=0.4, shininess=0.4)
_WOOD = Look("dark-wood", (0.27, 0.20, 0.155), "dark-wood", mapping="cube")
_DRAWER_WOOD = Look("drawer-wood", (0.36, 0.265, 0.20), "dark-wood", mapping="cube")
_HANDLE = Look("handle", (0.60, 0.60, 0.61), specular=0.6, shininess=0.6)

#: Of drawers and knob, as measured: it, not their parts, decides how they move.
_HEAVY = Inertial(3.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

FLAT_STOVE = ObjectRow(
    category="flat_stove",
    folder="articulated_objects",
    bottom_z=-0.045,
    top_z=0.045,
    radius=0.045,
    body=Body(
        name="object",
        children=(
            Body(
                name="base",
                # LIBERO's search for sites stops at the first body that has none: such bodies come last.
                children=(
                    Body(
                        name="burner",
                        pos=(0.15, 0.0, 0.0),
                        parts=(
                            Solid(Box((-0.095, -0.095, -0.02), (0.095, 0.095, 0.0200)), _STEEL),
                            Solid(Box((-0.065, -0.065, 0.0200), (0.065, 0.065, 0.0255))),
                            Shown(
                                Cylinder(0.0650, (0.0200, 0.0255)), Look("coils", (1.0, 1.0, 1.0), "stove-coils")
                            ),
                        ),
                        sites=(
                            Site("cook_region", (0.0, 0.0, 0.0), (0.075, 0.075, 0.0025)),
                            # Seen while the stove is on: LIBERO toggles its alpha.
                            Site(
                                "burner", (0.0, 0.0, 0.0256), (0.0625, 0.0005, 0.0), "cylinder",
                                rgba=(0.9, 0.05, 0.05, 1.0),
                            ),
                        ),
                    ),
                    Body(
                        name="button",
                        inertial=_HEAVY,
                        joint=Joint("button", "hinge", (0.0, 0.0, 1.0), (-0.005, 2.1), damping=1.0),
                        parts=(
                            Solid(Box((-0.034, -0.034, 0.0004), (0.034, 0.034, 0.028))),
                            Solid(Box((-0.008, -0.040, 0.028), (0.008, 0.040, 0.050)), _STEEL),
                            Shown(Cylinder(0.048, (0.0004, 0.028)), _KNOB),
                        ),
                    ),
                ),
            ),
        ),
    ),
)  # fmt: skip


def _drawer(level: str, floor_z: float, region_z: float) -> Body:
    """One drawer; ``floor_z`` is the lower side of its floor, heights above it are equal for all three (m)."""

    def wall(low: Vector, high: Vector, look: Look = _DRAWER_WOOD) -> Solid:
        return Solid(Box((low[0], low[1], low[2] + floor_z), (high[0], high[1], high[2] + floor_z)), look)

    return Body(
        name=f"cabinet_{level}",
        inertial=_HEAVY,
        joint=Joint(f"{level}_level", "slide", (0.0, 1.0, 0.0), (-0.16, 0.01), damping=50.0),
        parts=(
            wall((-0.1060, -0.0780, 0.0), (0.1127, -0.0648, 0.0685)),  # front
            wall((-0.1060, 0.0873, 0.0), (0.1127, 0.0943, 0.0664)),
            wall((-0.1060, -0.0648, 0.0), (-0.0995, 0.0873, 0.0664)),
            wall((0.1065, -0.0648, 0.0), (0.1127, 0.0873, 0.0664)),
            wall((-0.0995, -0.0648, 0.0), (0.1065, 0.0873, 0.0103)),  # floor
            wall((-0.0471, -0.1093, 0.0270), (0.0419, -0.0939, 0.0434), _HANDLE),
            wall((-0.0440, -0.0939, 0.0290), (-0.0360, -0.0780, 0.0414), _HANDLE),
            wall((0.0310, -0.0939, 0.0290), (0.0390, -0.0780, 0.0414), _HANDLE),
        ),
        sites=(
            Site(
                f"{level}_region", (0.00328, 0.01128, region_z), (0.02993, 0.07561, 0.10224),
                quat=(0.70711, 0.0, 0.70711, 0.0),
            ),
        ),
    )  # fmt: skip


WOODEN_CABINET = ObjectRow(
    category="wooden_cabinet",
    folder="articulated_objects",
    bottom_z=-0.045,
    top_z=0.045,
    radius=0.045,
    body=Body(
        name="object",
        children=(
            Body(
                name="base",
                parts=(
                    Solid(Box((-0.1233, -0.0792, 0.0046), (-0.1068, 0.1117, 0.2206)), _WOOD),
                    Solid(Box((0.1135, -0.0792, 0.0046), (0.1312, 0.1117, 0.2206)), _WOOD),
                    Solid(Box((-0.1068, 0.1071, 0.0046), (0.1135, 0.1117, 0.2206)), _WOOD),
                    Solid(Box((-0.1233, -0.0783, 0.2206), (0.1312, 0.1117, 0.2230)), _WOOD),
                    Solid(Box((-0.1068, -0.0707, 0.0046), (0.1135, 0.1071, 0.0100)), _WOOD),
                ),
                sites=(Site("top_side", (0.00354, 0.01567, 0.22152), (0.12534, 0.09438, 0.00147)),),
            ),
            _drawer("top", 0.1488, 0.18563),
            _drawer("middle", 0.0791, 0.1169),
            _drawer("bottom", 0.0105, 0.04701),
        ),
    ),
)

_PINE = Look("pine", (0.86, 0.68, 0.46), "dark-wood", mapping="cube")
_PINE_EDGE = Look("pine-edge", (0.66, 0.47, 0.28))
_MAHOGANY = Look("mahogany", (0.45, 0.17, 0.10), "dark-wood", mapping="cube")

#: Slope of the rack's two shelves, degrees: they rise along y.
_SHELF_SLOPE = 31.3


def _shelf(y: float, z: float, stop_y: float, stop_z: float) -> tuple[Solid | Shown, ...]:
    """A sloping board with the ledge that stops a bottle at its lower end, and slats that are only seen."""
    slope = turn_about((1.0, 0.0, 0.0), _SHELF_SLOPE)
    slats = tuple(
        Shown(Placed(Box((x - 0.005, -0.077, 0.0045), (x + 0.005, 0.077, 0.0056)), (0.0, y, z), slope), _PINE_EDGE)
        for x in (-0.105, -0.063, -0.021, 0.021, 0.063, 0.105)
    )
    return (
        Solid(Placed(Box((-0.1344, -0.0789, -0.0045), (0.1344, 0.0789, 0.0045)), (0.0, y, z), slope), _PINE),
        Solid(Placed(Box((-0.1322, -0.0011, -0.0087), (0.1322, 0.0011, 0.0087)), (0.0, stop_y, stop_z), slope), _PINE),
        *slats,
    )


WINE_RACK = ObjectRow(
    category="wine_rack",
    folder="turbosquid_objects",
    body=Body(
        name="object",
        parts=(
            *_shelf(-0.0061, 0.2512, -0.0748, 0.2207),
            *_shelf(-0.0427, 0.1273, -0.1091, 0.0974),
            Solid(Box((-0.0900, -0.1240, -0.0020), (0.0900, 0.1290, 0.0150)), _MAHOGANY),
            Solid(Box((-0.0904, -0.0141, 0.0150), (0.0904, 0.0141, 0.0250)), _MAHOGANY),
            Solid(
                Placed(
                    Box((-0.0076, -0.0090, -0.1616), (0.0076, 0.0090, 0.1616)),
                    (0.0, 0.0089, 0.1703),
                    turn_about((1.0, 0.0, 0.0), -15.7),
                ),
                _MAHOGANY,
            ),
        ),
        sites=(
            Site(
                "top_region", (0.0, -0.08003, 0.21745), (0.10087, 0.022, 0.00251),
                quat=(0.85491, -0.51877, 0.0, 0.0),
            ),
        ),
    ),
)  # fmt: skip

FIXTURES: tuple[ObjectRow, ...] = (FLAT_STOVE, WOODEN_CABINET, WINE_RACK)
