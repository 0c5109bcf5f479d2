"""The table, continued: what libero_object puts into its basket, and libero_goal's bottle. Sources as in ``objects``.

Cartons, cans and most bottles lie along the y axis of their frame: LIBERO's initial states stand them up.
"""

from __future__ import annotations

from runners.assets.builtin.model import Body, Inertial, ObjectRow, Shown, Solid
from runners.assets.builtin.shapes import (
    Box,
    Cylinder,
    Lathe,
    Look,
    Part,
    Placed,
    Prism,
    Quaternion,
    Vector,
    turn_about,
)

#: Turns a part that was drawn upright along z so that it stands along y.
_ALONG_Y = turn_about((1.0, 0.0, 0.0), -90.0)

_TIN = Look("tin", (0.66, 0.67, 0.69), specular=0.6, shininess=0.6)


def _grocery(
    category: str,
    inertial: Inertial,
    parts: tuple[Solid | Shown, ...],
    *,
    folder: str = "stable_hope_objects",
    bottom_z: float = -0.06,
    top_z: float = 0.04,
    radius: float = 0.025,
) -> ObjectRow:
    body = Body(name="object", inertial=inertial, parts=parts)
    return ObjectRow(category, folder, body, bottom_z=bottom_z, top_z=top_z, radius=radius)


def _along_y(part: Part, pos: Vector = (0.0, 0.0, 0.0)) -> Placed:
    return Placed(part, pos, _ALONG_Y)


def _band(radius: float, z: tuple[float, float], look: Look, middle: Vector) -> Shown:
    return Shown(_along_y(Cylinder(radius, z), middle), look)


def _can(category: str, inertial: Inertial, middle: Vector, label: Look, stripe: Look, bottom_z: float) -> ObjectRow:
    """A tin can; ``middle`` of its axis in the frame (m)."""
    return _grocery(
        category,
        inertial,
        (
            Solid(_along_y(Prism(12, 0.0305, (-0.0386, 0.0376)), middle)),
            _band(0.0322, (-0.0386, -0.0350), _TIN, middle),
            _band(0.0312, (-0.0350, 0.0345), label, middle),
            _band(0.0314, (-0.0060, 0.0120), stripe, middle),
            Shown(
                _along_y(
                    Lathe(
                        (
                            (0.0, 0.0345), (0.0322, 0.0345), (0.0322, 0.0380), (0.0298, 0.0380), (0.0298, 0.0362),
                            (0.0, 0.0362),
                        )
                    ),
                    middle,
                ),
                _TIN,
            ),
        ),
        bottom_z=bottom_z,
    )  # fmt: skip


ALPHABET_SOUP = _can(
    "alphabet_soup",
    Inertial(0.0258514, (0.00003, -0.0008, -0.00267), (1.8197e-5, 1.3359e-5, 1.8681e-5)),
    (0.0, 0.0, -0.0034),
    Look("blue-paper", (0.10, 0.24, 0.66)),
    Look("yellow-paper", (0.96, 0.82, 0.20)),
    bottom_z=-0.04,
)
TOMATO_SAUCE = _can(
    "tomato_sauce",
    Inertial(0.0266328, (0.00057, -0.00079, -0.00235), (1.8792e-5, 1.3925e-5, 1.9386e-5)),
    (0.0, 0.0, -0.0033),
    Look("red-paper", (0.78, 0.09, 0.07)),
    Look("green-paper", (0.24, 0.55, 0.20)),
    bottom_z=-0.06,
)


def _faces(look: Look, half: float, y: tuple[float, float]) -> tuple[Shown, ...]:
    """A label on each upright side of a carton of half width ``half``, between two heights (m)."""
    low, high = y
    sheet = Box((-half, low, half), (half, high, half + 0.0003))
    turns: tuple[Quaternion, ...] = tuple(turn_about((0.0, 1.0, 0.0), angle) for angle in (0.0, 90.0, 180.0, 270.0))
    return tuple(Shown(Placed(sheet, quat=turn), look) for turn in turns)


def _carton(category: str, x: float, label: Look, roof: Look, radius: float) -> ObjectRow:
    """A carton with a gable roof, its middle ``x`` off the frame's (m)."""
    lean = turn_about((1.0, 0.0, 0.0), -48.0)
    panel = Box((-0.0262, -0.0138, -0.0022), (0.0262, 0.0138, 0.0022))
    return _grocery(
        category,
        Inertial(0.0316659, (x, -0.01198, 0.0), (4.3294e-5, 1.4485e-5, 4.3360e-5)),
        (
            Solid(Box((x - 0.0262, -0.0698, -0.0262), (x + 0.0262, 0.0398, 0.0262)), roof),
            *_faces(label, 0.0261, (-0.0690, 0.0390)),
            *(Solid(Placed(panel, (0.0, 0.0478, s * 0.0135), _mirror(lean, s)), roof) for s in (1.0, -1.0)),
            Solid(Box((-0.0265, 0.0556, -0.0032), (0.0265, 0.0614, 0.0032)), roof),
            Shown(Box((-0.0265, 0.0556, -0.0036), (0.0265, 0.0660, 0.0036)), roof),
        ),
        radius=radius,
    )


def _mirror(turn: Quaternion, side: float) -> Quaternion:
    """The same turn about x to the other ``side``; a panel of the roof slopes down to its own side."""
    w, x, y, z = turn
    return (w, x * side, y, z)


MILK = _carton(
    "milk",
    0.00035,
    Look("milk-label", (1.0, 1.0, 1.0), "milk-label"),
    Look("milk-white", (0.93, 0.93, 0.90)),
    radius=0.03,
)
ORANGE_JUICE = _carton(
    "orange_juice",
    -0.00035,
    Look("juice-label", (1.0, 1.0, 1.0), "orange-juice-label"),
    Look("juice-orange", (0.95, 0.55, 0.08)),
    radius=0.025,
)

#: (radius across, height) of one side of a bottle; ``Lathe`` closes it along the axis.
_SQUEEZE_BOTTLE = (
    (0.0, -0.0724), (0.0240, -0.0724), (0.0290, -0.0680), (0.0300, -0.0200), (0.0280, 0.0020), (0.0215, 0.0220),
    (0.0180, 0.0340), (0.0, 0.0340),
)  # fmt: skip
_GLASS_BOTTLE = (
    (0.0, -0.0727), (0.0180, -0.0727), (0.0240, -0.0620), (0.0292, -0.0460), (0.0295, -0.0200), (0.0250, -0.0050),
    (0.0185, 0.0070), (0.0145, 0.0230), (0.0140, 0.0360), (0.0, 0.0360),
)  # fmt: skip
_SMALL_BOTTLE = (
    (0.0, -0.0546), (0.0225, -0.0546), (0.0240, -0.0520), (0.0240, -0.0080), (0.0215, 0.0030), (0.0165, 0.0200),
    (0.0140, 0.0320), (0.0, 0.0320),
)  # fmt: skip

KETCHUP = _grocery(
    "ketchup",
    Inertial(0.0232168, (0.00042, -0.00898, 0.00078), (3.7934e-5, 6.9915e-6, 4.0329e-5)),
    (
        Solid(Box((-0.0277, -0.0724, -0.0162), (0.0286, -0.0114, 0.0178))),
        Solid(Box((-0.0235, -0.0114, -0.0175), (0.0243, 0.0150, 0.0191))),
        Solid(Box((-0.0179, 0.0150, -0.0175), (0.0191, 0.0363, 0.0191))),
        Solid(_along_y(Prism(8, 0.0172, (0.0363, 0.0732)), (0.0004, 0.0, 0.0008))),
        Shown(
            _along_y(Lathe(_SQUEEZE_BOTTLE, flatten=0.62), (0.0004, 0.0, 0.0008)),
            Look("ketchup-red", (0.76, 0.07, 0.05), specular=0.4, shininess=0.5),
        ),
        _band(0.0178, (0.0340, 0.0734), Look("white-cap", (0.93, 0.93, 0.92)), (0.0004, 0.0, 0.0008)),
        Shown(Box((-0.0200, -0.0560, -0.0190), (0.0208, -0.0180, 0.0206)), Look("ketchup-paper", (0.94, 0.92, 0.86))),
        Shown(Box((-0.0110, -0.0480, -0.0194), (0.0118, -0.0260, 0.0210)), Look("tomato", (0.80, 0.14, 0.08))),
    ),
)

SALAD_DRESSING = _grocery(
    "salad_dressing",
    Inertial(0.0217845, (-0.00046, -0.00563, 0.00021), (3.3968e-5, 5.1927e-6, 3.5189e-5)),
    (
        Solid(Box((-0.0183, -0.0727, -0.0171), (0.0163, -0.0628, 0.0175))),
        Solid(Box((-0.0232, -0.0628, -0.0171), (0.0212, -0.0524, 0.0175))),
        Solid(Box((-0.0274, -0.0524, -0.0171), (0.0254, -0.0104, 0.0175))),
        Solid(Box((-0.0239, -0.0104, -0.0171), (0.0219, 0.0013, 0.0175))),
        Solid(Box((-0.0181, 0.0013, -0.0169), (0.0161, 0.0128, 0.0173))),
        Solid(Box((-0.0124, 0.0128, -0.0147), (0.0134, 0.0358, 0.0151))),
        Solid(_along_y(Prism(8, 0.0165, (0.0356, 0.0728)), (0.0002, 0.0, 0.0004))),
        Shown(
            _along_y(Lathe(_GLASS_BOTTLE, flatten=0.62), (-0.0010, 0.0, 0.0002)),
            Look("dressing", (0.80, 0.80, 0.42), specular=0.5, shininess=0.6),
        ),
        _band(0.0172, (0.0356, 0.0729), Look("dark-green-cap", (0.10, 0.30, 0.12)), (0.0002, 0.0, 0.0004)),
        Shown(Box((-0.0200, -0.0520, -0.0190), (0.0180, -0.0140, 0.0194)), Look("dressing-paper", (0.93, 0.94, 0.90))),
        Shown(Box((-0.0130, -0.0440, -0.0194), (0.0110, -0.0220, 0.0198)), Look("herbs", (0.30, 0.58, 0.20))),
    ),
)

BBQ_SAUCE = _grocery(
    "bbq_sauce",
    Inertial(0.0121803, (0.0, 0.0, -0.0076), (1.1159e-5, 1.2111e-5, 2.6032e-6)),
    (
        Solid(Box((-0.0235, -0.0145, -0.0546), (0.0235, 0.0145, -0.0010))),
        Solid(Box((-0.0181, -0.0143, -0.0058), (0.0181, 0.0143, 0.0304))),
        Solid(Box((-0.0140, -0.0143, 0.0257), (0.0140, 0.0143, 0.0525))),
        Shown(
            Lathe(_SMALL_BOTTLE, flatten=0.64),
            Look("sauce-brown", (0.23, 0.085, 0.04), specular=0.5, shininess=0.6),
        ),
        Shown(Cylinder(0.0150, (0.0320, 0.0550)), Look("orange-cap", (0.90, 0.40, 0.08))),
        Shown(Box((-0.0175, -0.0158, -0.0460), (0.0175, 0.0158, -0.0120)), Look("sauce-paper", (0.93, 0.72, 0.24))),
        Shown(Box((-0.0110, -0.0161, -0.0390), (0.0110, 0.0161, -0.0200)), Look("flame", (0.72, 0.18, 0.06))),
    ),
    top_z=0.06,
    radius=0.015,
)


def _flat_pack(
    category: str,
    inertial: Inertial,
    corners: tuple[Vector, Vector],
    side: Look,
    label: str,
    *,
    bottom_z: float,
    top_z: float,
    radius: float,
) -> ObjectRow:
    """A box that lies on its broad side, with a picture on top."""
    (x0, y0, _), (x1, y1, top) = corners
    inset = 0.0003
    parts = (
        Solid(Box(*corners), side),
        Shown(
            Box((x0 + inset, y0 + inset, top - 0.0002), (x1 - inset, y1 - inset, top + 0.0004)),
            Look(label, (1.0, 1.0, 1.0), label),
        ),
    )
    return _grocery(category, inertial, parts, bottom_z=bottom_z, top_z=top_z, radius=radius)


BUTTER = _flat_pack(
    "butter",
    Inertial(0.0052472, (0.0, 0.0, 0.0), (8.1632e-7, 2.6703e-6, 3.2212e-6)),
    ((-0.0381, -0.0198, -0.0087), (0.0381, 0.0198, 0.0087)),
    Look("butter-yellow", (0.95, 0.79, 0.26)),
    "butter-label",
    bottom_z=-0.02,
    top_z=0.02,
    radius=0.02,
)
CREAM_CHEESE = _flat_pack(
    "cream_cheese",
    Inertial(0.0061938, (0.0, 0.0, 0.0), (1.1047e-6, 3.5694e-6, 4.3444e-6)),
    ((-0.0406, -0.0213, -0.0089), (0.0406, 0.0213, 0.0089)),
    Look("cheese-silver", (0.74, 0.78, 0.83)),
    "cream-cheese-label",
    bottom_z=-0.025,
    top_z=0.025,
    radius=0.03,
)
CHOCOLATE_PUDDING = _flat_pack(
    "chocolate_pudding",
    Inertial(0.0101862, (-0.0005, 0.0, 0.00063), (2.4594e-6, 6.0980e-6, 7.2811e-6)),
    ((-0.0406, -0.0232, -0.0131), (0.0396, 0.0232, 0.0143)),
    Look("pudding-brown", (0.30, 0.16, 0.09)),
    "pudding-label",
    bottom_z=-0.06,
    top_z=0.04,
    radius=0.025,
)

WINE_BOTTLE = _grocery(
    "wine_bottle",
    Inertial(0.0153941, (0.00019, -0.00001, 0.05615), (2.2921e-5, 2.2850e-5, 2.5395e-6)),
    (
        Solid(Box((-0.0148, -0.0148, 0.0011), (0.0148, 0.0148, 0.0735))),
        Solid(Prism(8, 0.0205, (0.0035, 0.0631))),
        Solid(Box((-0.0118, -0.0118, 0.0735), (0.0118, 0.0118, 0.0881))),
        Solid(Prism(8, 0.0069, (0.0881, 0.1581))),
        Shown(
            Lathe(
                (
                    (0.0, 0.0005), (0.0195, 0.0005), (0.0213, 0.0030), (0.0213, 0.0640), (0.0195, 0.0730),
                    (0.0130, 0.0860), (0.0085, 0.0970), (0.0072, 0.1080), (0.0072, 0.1300), (0.0, 0.1300),
                )
            ),
            Look("green-glass", (0.035, 0.15, 0.06), specular=0.6, shininess=0.7),
        ),
        Shown(Cylinder(0.0078, (0.1240, 0.1583)), Look("gold-foil", (0.72, 0.55, 0.18), specular=0.5, shininess=0.5)),
        Shown(Cylinder(0.0216, (0.0140, 0.0480)), Look("wine-paper", (0.90, 0.86, 0.74))),
        Shown(Cylinder(0.0218, (0.0210, 0.0270)), Look("wine-band", (0.50, 0.08, 0.12))),
    ),
    folder="turbosquid_objects",
)  # fmt: skip

GROCERIES: tuple[ObjectRow, ...] = (
    ALPHABET_SOUP,
    BBQ_SAUCE,
    BUTTER,
    CHOCOLATE_PUDDING,
    CREAM_CHEESE,
    KETCHUP,
    MILK,
    ORANGE_JUICE,
    SALAD_DRESSING,
    TOMATO_SAUCE,
    WINE_BOTTLE,
)
