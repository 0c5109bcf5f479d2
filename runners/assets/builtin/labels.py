"""Fronts of packages. Same rules as ``textures``: integer and plain float arithmetic only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float64]  # [H, W, 3] in 0..1

_Colour = tuple[float, float, float]
_CREAM_INK = (0.98, 0.90, 0.55)

#: 5 x 7 letters for labels, one row of five bits a line.
_LETTERS = {
    "C": (14, 17, 16, 16, 16, 17, 14),
    "O": (14, 17, 17, 17, 17, 17, 14),
    "K": (17, 18, 20, 24, 20, 18, 17),
    "I": (14, 4, 4, 4, 4, 4, 14),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "S": (15, 16, 16, 14, 1, 1, 30),
    "A": (14, 17, 17, 31, 17, 17, 17),
    "B": (30, 17, 17, 30, 17, 17, 30),
    "D": (30, 17, 17, 17, 17, 17, 30),
    "G": (14, 17, 16, 23, 17, 17, 15),
    "H": (17, 17, 17, 31, 17, 17, 17),
    "J": (7, 2, 2, 2, 2, 18, 12),
    "L": (16, 16, 16, 16, 16, 16, 31),
    "M": (17, 27, 21, 21, 17, 17, 17),
    "N": (17, 25, 21, 19, 17, 17, 17),
    "P": (30, 17, 17, 30, 16, 16, 16),
    "R": (30, 17, 17, 30, 20, 18, 17),
    "T": (31, 4, 4, 4, 4, 4, 4),
    "U": (17, 17, 17, 17, 17, 17, 14),
}


def cookies_label() -> Picture:
    """Front of a cookie box: red, a cream field with three cookies, the word on top."""
    height, width = 128, 96
    picture = np.empty((height, width, 3))
    picture[:] = (0.70, 0.13, 0.10)
    picture[44:120, 8:88] = (0.96, 0.86, 0.62)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    for cy, cx in ((66.0, 32.0), (70.0, 66.0), (98.0, 47.0)):
        distance = np.sqrt((y - cy) ** 2 + (x - cx) ** 2)
        picture[distance < 19.0] = (0.58, 0.36, 0.16)
        picture[distance < 17.0] = (0.78, 0.54, 0.26)
        for dy, dx in ((-8, -3), (5, -9), (2, 7), (10, 3), (-4, 10), (-2, -11)):
            picture[np.sqrt((y - cy - dy) ** 2 + (x - cx - dx) ** 2) < 2.6] = (0.25, 0.12, 0.06)
    _write(picture, "COOKIES", top=12, left=7, scale=2)
    return _mirrored(picture)


def milk_label() -> Picture:
    """Side of a milk carton: white, a blue hill at the bottom, the word in blue."""
    picture, y, x = _plain(96, 56, (0.95, 0.95, 0.93))
    picture[(y > 62.0) & ((y - 150.0) ** 2 + (x - 14.0) ** 2 < 88.0**2)] = (0.20, 0.42, 0.78)
    picture[(y > 74.0) & ((y - 160.0) ** 2 + (x - 50.0) ** 2 < 84.0**2)] = (0.36, 0.60, 0.28)
    _write(picture, "MILK", top=22, left=5, scale=2, ink=(0.12, 0.25, 0.62))
    return _mirrored(picture)


def orange_juice_label() -> Picture:
    """Side of a juice carton: yellow-orange, half an orange with its segments, the word in white."""
    picture, y, x = _plain(96, 56, (0.97, 0.62, 0.10))
    from_middle = np.sqrt((y - 64.0) ** 2 + (x - 28.0) ** 2)
    picture[from_middle < 22.0] = (0.86, 0.36, 0.03)
    picture[from_middle < 19.0] = (1.0, 0.86, 0.55)
    spokes = (np.abs(x - 28.0) > 1.6) & (np.abs(y - 64.0) > 1.6) & (np.abs(np.abs(y - 64.0) - np.abs(x - 28.0)) > 2.2)
    picture[(from_middle < 17.0) & spokes] = (0.96, 0.50, 0.05)
    picture[(y > 34.0) & (y < 42.0) & (x > 28.0) & (x < 42.0) & (x - 28.0 > (42.0 - y))] = (0.18, 0.45, 0.16)
    _write(picture, "ORANGE", top=12, left=10, scale=1, ink=(1.0, 1.0, 0.96))
    _write(picture, "JUICE", top=22, left=13, scale=1, ink=(1.0, 1.0, 0.96))
    return _mirrored(picture)


def butter_label() -> Picture:
    """Top of a butter pack: yellow with a red border, the word in red."""
    picture, _, _ = _plain(48, 92, (0.97, 0.83, 0.30))
    for rows in (slice(0, 5), slice(43, 48)):
        picture[rows] = (0.80, 0.20, 0.10)
    _write(picture, "BUTTER", top=17, left=10, scale=2, ink=(0.72, 0.13, 0.08))
    return _mirrored(picture)


def cream_cheese_label() -> Picture:
    """Top of a cream cheese pack: silver with a blue oval, the words in white."""
    picture, y, x = _plain(48, 92, (0.80, 0.83, 0.86))
    picture[((y - 23.5) / 20.0) ** 2 + ((x - 45.5) / 40.0) ** 2 < 1.0] = (0.14, 0.30, 0.66)
    _write(picture, "CREAM", top=13, left=31, scale=1, ink=(1.0, 1.0, 1.0))
    _write(picture, "CHEESE", top=26, left=28, scale=1, ink=(1.0, 1.0, 1.0))
    return _mirrored(picture)


def pudding_label() -> Picture:
    """Top of a pudding pack: brown, a cream swirl in a cup, the word."""
    picture, y, x = _plain(52, 92, (0.34, 0.19, 0.11))
    picture[(y > 18.0) & (np.abs(x - 72.0) < 15.0 - (y - 18.0) * 0.2)] = (0.92, 0.88, 0.80)
    picture[((y - 18.0) / 9.0) ** 2 + ((x - 72.0) / 15.0) ** 2 < 1.0] = (0.52, 0.30, 0.17)
    picture[((y - 14.0) / 5.0) ** 2 + ((x - 72.0) / 8.0) ** 2 < 1.0] = (0.98, 0.95, 0.88)
    _write(picture, "PUDDING", top=22, left=8, scale=1, ink=_CREAM_INK)
    return _mirrored(picture)


def _plain(height: int, width: int, colour: _Colour) -> tuple[Picture, Picture, Picture]:
    """A picture of one colour, and the row and column of every pixel."""
    picture = np.empty((height, width, 3))
    picture[:] = colour
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    return picture, y, x


def _mirrored(picture: Picture) -> Picture:
    """LIBERO's pictures are turned by 180 degrees, not flipped: words in them read mirrored, so write them mirrored."""
    return picture[:, ::-1]


def _write(picture: Picture, word: str, *, top: int, left: int, scale: int, ink: _Colour = _CREAM_INK) -> None:
    """Draw a word, six columns a letter."""
    for index, letter in enumerate(word):
        for row, bits in enumerate(_LETTERS[letter]):
            for column in range(5):
                if bits >> (4 - column) & 1:
                    y, x = top + row * scale, left + (6 * index + column) * scale
                    picture[y : y + scale, x : x + scale] = ink


#: Picture name -> drawing function.
LABELS: dict[str, Callable[[], Picture]] = {
    "cookies-label": cookies_label,
    "milk-label": milk_label,
    "orange-juice-label": orange_juice_label,
    "butter-label": butter_label,
    "cream-cheese-label": cream_cheese_label,
    "pudding-label": pudding_label,
}
