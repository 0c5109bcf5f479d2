"""The table of movable objects: measured sizes, masses and names, drawn with our own parts.

Frames, radii, heights, masses and centres of mass are measurements of LIBERO's collision shapes (metres, kilograms);
colours are means of its pictures. Origins sit where LIBERO's sit: goals compare them.
"""

from __future__ import annotations

from runners.assets.builtin.model import Body, Inertial, ObjectRow, Shown, Site, Solid
from runners.assets.builtin.shapes import Box, Lathe, Look, Placed, Ring, turn_about

_BLACK_GLAZE = Look("black-glaze", (0.13, 0.125, 0.13), specular=0.5, shininess=0.6)
_GREY_GLAZE = Look("grey-glaze", (0.34, 0.33, 0.33), specular=0.5, shininess=0.6)

AKITA_BLACK_BOWL = ObjectRow(
    category="akita_black_bowl",
    folder="stable_scanned_objects",
    body=Body(
        name="object",
        inertial=Inertial(0.0055913, (0.00228, 0.00051, 0.02271), (5.719e-6, 6.103e-6, 9.081e-6)),
        parts=(
            # One box as foot: four crossing ones gave 76 contacts at rest instead of 20.
            Solid(Box((-0.0165, -0.0165, 0.0016), (0.0165, 0.0165, 0.0068))),
            # The walls meet flush: a ledge between them caught on the cabinet's edge and held the bowl there.
            Solid(Ring(16, (0.0249, 0.0045), (0.0437, 0.0158), 0.0020)),
            Solid(Ring(16, (0.0425, 0.0160), (0.0519, 0.0516), 0.0026)),
            Shown(
                Lathe(
                    (
                        (0.0, 0.0020), (0.0215, 0.0020), (0.0250, 0.0035), (0.0368, 0.0105), (0.0425, 0.0150),
                        (0.0480, 0.0310), (0.0530, 0.0500), (0.0506, 0.0500), (0.0452, 0.0315), (0.0398, 0.0160),
                        (0.0345, 0.0115), (0.0260, 0.0080), (0.0, 0.0068),
                    )
                ),
                _BLACK_GLAZE,
            ),
            Shown(Lathe(((0.0503, 0.0498), (0.0532, 0.0498), (0.0534, 0.0516), (0.0505, 0.0520))), _GREY_GLAZE),
        ),
    ),
)  # fmt: skip

PLATE = ObjectRow(
    category="plate",
    folder="stable_scanned_objects",
    body=Body(
        name="object",
        inertial=Inertial(0.0115221, (0.00033, 0.00514, 0.00645), (1.5063e-5, 1.2927e-5, 2.7633e-5)),
        parts=(
            Solid(Box((-0.025, -0.025, 0.0009), (0.025, 0.025, 0.0054))),
            Solid(Ring(8, (0.0297, -0.0004), (0.0666, 0.0134), 0.0045)),  # it stands on this ring
            Shown(
                Lathe(
                    (
                        (0.0, -0.0022), (0.0340, -0.0022), (0.0390, 0.0005), (0.0672, 0.0112), (0.0660, 0.0150),
                        (0.0400, 0.0064), (0.0300, 0.0054), (0.0, 0.0054),
                    ),
                    segments=40,
                ),
                Look("cream-glaze", (0.80, 0.765, 0.69), specular=0.15, shininess=0.4),
            ),
            Shown(
                Lathe(((0.0630, 0.0140), (0.0665, 0.0110), (0.0695, 0.0130), (0.0685, 0.0166)), segments=40),
                Look("red-band", (0.66, 0.13, 0.10), specular=0.2, shininess=0.4),
            ),
        ),
    ),
)  # fmt: skip

RAMEKIN = ObjectRow(
    category="glazed_rim_porcelain_ramekin",
    folder="stable_scanned_objects",
    body=Body(
        name="object",
        inertial=Inertial(0.0096597, (-0.00246, 0.00006, 0.01681), (7.371e-6, 7.994e-6, 1.2177e-5)),
        parts=(
            Solid(Box((-0.025, -0.025, 0.0007), (0.025, 0.025, 0.0073))),
            Solid(Ring(12, (0.0358, 0.0012), (0.0417, 0.0424), 0.005)),
            Shown(
                Lathe(
                    (
                        (0.0, 0.0010), (0.0370, 0.0010), (0.0390, 0.0030), (0.0435, 0.0385), (0.0390, 0.0385),
                        (0.0345, 0.0090), (0.0320, 0.0073), (0.0, 0.0073),
                    )
                ),
                Look("porcelain", (0.74, 0.775, 0.81), specular=0.15, shininess=0.4),
            ),
            Shown(
                Lathe(((0.0388, 0.0380), (0.0437, 0.0380), (0.0445, 0.0420), (0.0390, 0.0428))),
                Look("blue-rim", (0.16, 0.33, 0.62), specular=0.2, shininess=0.4),
            ),
        ),
    ),
)  # fmt: skip

COOKIES = ObjectRow(
    category="cookies",
    folder="stable_hope_objects",
    body=Body(
        name="object",
        inertial=Inertial(0.0096426, (0.0, 0.0, 0.0), (5.769e-6, 3.381e-6, 8.582e-6)),
        parts=(
            Solid(Box((-0.03104, -0.04131, -0.0094), (0.03104, 0.04131, 0.0094)), Look("red-card", (0.62, 0.12, 0.10))),
            Shown(
                Box((-0.0308, -0.0411, 0.0093), (0.0308, 0.0411, 0.0098)),
                Look("cookies-label", (1.0, 1.0, 1.0), "cookies-label"),
            ),
        ),
    ),
)

_WICKER = Look("wicker", (0.74, 0.55, 0.33), "wicker", mapping="cube")
_BASKET_RIM = Look("basket-rim", (0.52, 0.36, 0.19))


def _basket_wall(x: float, y: float, half: tuple[float, float], lean: float) -> tuple[Solid, Shown]:
    """A wall that leans outwards by ``lean`` degrees; ``half`` across and along (m). With a darker rim."""
    turn = turn_about((0.0, 1.0, 0.0), lean) if x else turn_about((1.0, 0.0, 0.0), -lean)
    wide = Box((-half[0], -half[1], -0.0638), (half[0], half[1], 0.0638))
    rim = Box((-half[0] - 0.001, -half[1] - 0.001, 0.0560), (half[0] + 0.001, half[1] + 0.001, 0.0640))
    middle = (x, y, 0.0800)
    return Solid(Placed(wide, middle, turn), _WICKER), Shown(Placed(rim, middle, turn), _BASKET_RIM)


BASKET = ObjectRow(
    category="basket",
    folder="stable_scanned_objects",
    body=Body(
        name="object",
        inertial=Inertial(0.1361069, (0.00127, 0.0001, 0.06086), (6.3899e-4, 6.8428e-4, 8.1677e-4)),
        parts=(
            Solid(Box((-0.0760, -0.0720, 0.0042), (0.0770, 0.0720, 0.0216)), _WICKER),
            *_basket_wall(0.0745, 0.0, (0.0067, 0.0720), 3.0),
            *_basket_wall(-0.0735, 0.0, (0.0067, 0.0720), -3.0),
            *_basket_wall(0.0, 0.0690, (0.0724, 0.0067), 3.0),
            *_basket_wall(0.0, -0.0688, (0.0724, 0.0067), -3.0),
        ),
        sites=(Site("contain_region", (0.0, 0.0, 0.07185), (0.06108, 0.06108, 0.06949), quat=(0.0, 0.0, 0.0, 1.0)),),
    ),
)

MOVABLE: tuple[ObjectRow, ...] = (AKITA_BLACK_BOWL, PLATE, RAMEKIN, COOKIES, BASKET)
