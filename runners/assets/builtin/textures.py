"""Small pictures, drawn by integer and plain float arithmetic so that their bytes are equal on every machine.

No ``sin``, no random generator of a library, no compressor: those differ between versions and processors.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float64]  # [H, W, 3] in 0..1

#: 5 x 7 letters for labels, one row of five bits a line.
_LETTERS = {
    "C": (14, 17, 16, 16, 16, 17, 14),
    "O": (14, 17, 17, 17, 17, 17, 14),
    "K": (17, 18, 20, 24, 20, 18, 17),
    "I": (14, 4, 4, 4, 4, 4, 14),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "S": (15, 16, 16, 14, 1, 1, 30),
}


def png(picture: Picture) -> bytes:
    """Encode as PNG with stored (uncompressed) blocks: compressors differ between builds, stored bytes do not."""
    pixels = np.floor(np.clip(picture, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    height, width, _ = pixels.shape
    raw = b"".join(b"\0" + row.tobytes() for row in pixels)
    blocks = [raw[i : i + 65535] for i in range(0, len(raw), 65535)]
    stream = b"\x78\x01"
    for i, block in enumerate(blocks):
        stream += struct.pack("<BHH", i == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
    stream += struct.pack(">I", zlib.adler32(raw))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _hash01(x: NDArray[np.int64], y: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Pseudo-random numbers in [0, 1) from integer coordinates."""
    h = (x.astype(np.uint32) * np.uint32(374761393)) ^ (y.astype(np.uint32) * np.uint32(668265263))
    h ^= np.uint32(seed * 2246822519 % 2**32)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(1274126177)
    h = (h ^ (h >> np.uint32(15))) * np.uint32(2654435761)
    return np.asarray(h ^ (h >> np.uint32(16)), dtype=np.float64) / 4294967296.0


def _noise(shape: tuple[int, int], cells: tuple[int, int], seed: int) -> NDArray[np.float64]:
    """Smooth noise [H, W] in 0..1 that tiles; ``cells`` lattice cells down and across."""
    rows = np.arange(shape[0])[:, None] * (cells[0] / shape[0]) + np.zeros(shape)
    cols = np.arange(shape[1])[None, :] * (cells[1] / shape[1]) + np.zeros(shape)
    y0, x0 = np.floor(rows).astype(np.int64), np.floor(cols).astype(np.int64)
    fy, fx = rows - y0, cols - x0
    fy, fx = fy * fy * (3.0 - 2.0 * fy), fx * fx * (3.0 - 2.0 * fx)
    y1, x1 = (y0 + 1) % cells[0], (x0 + 1) % cells[1]
    top = _hash01(x0, y0, seed) * (1.0 - fx) + _hash01(x1, y0, seed) * fx
    bottom = _hash01(x0, y1, seed) * (1.0 - fx) + _hash01(x1, y1, seed) * fx
    return np.asarray(top * (1.0 - fy) + bottom * fy)


def _shade(rgb: tuple[float, float, float], factor: NDArray[np.float64]) -> Picture:
    return np.asarray(rgb)[None, None, :] * factor[:, :, None]


def table_wood() -> Picture:
    """Light boards along the columns with fine grain."""
    shape, boards = (256, 256), 4
    board = np.arange(256)[None, :] * boards // 256 + np.zeros((256, 1), dtype=np.int64)
    tone = 0.97 + 0.06 * _hash01(board, np.zeros_like(board), 5)
    grain = 0.5 * _noise(shape, (4, 64), 1) + 0.3 * _noise(shape, (8, 128), 2) + 0.2 * _noise(shape, (2, 24), 3)
    seam = np.where(np.arange(256) % (256 // boards) == 0, 0.86, 1.0)[None, :]
    return _shade((0.80, 0.725, 0.63), tone * (0.92 + 0.14 * grain) * seam)


def dark_wood() -> Picture:
    """Dark boards for furniture, grain along the rows."""
    shape = (64, 64)
    grain = 0.6 * _noise(shape, (32, 3), 11) + 0.4 * _noise(shape, (16, 2), 12)
    return _shade((1.0, 1.0, 1.0), 0.72 + 0.5 * grain)


def floor_tiles() -> Picture:
    """Grey tiles with joints."""
    shape = (128, 128)
    line = np.arange(128) % 64
    joint = np.where((line < 2)[:, None] | (line < 2)[None, :], 0.82, 1.0)
    return _shade((0.77, 0.73, 0.70), joint * (0.95 + 0.10 * _noise(shape, (16, 16), 21)))


def wall_plaster() -> Picture:
    """Light grey plaster."""
    shape = (128, 128)
    mottle = 0.6 * _noise(shape, (8, 8), 31) + 0.4 * _noise(shape, (32, 32), 32)
    return _shade((0.87, 0.86, 0.83), 0.95 + 0.10 * mottle)


def stove_coils() -> Picture:
    """Round hot plate: dark, with three lighter coils; fills the square."""
    y, x = np.mgrid[0:96, 0:96].astype(np.float64)
    radius = np.sqrt((x - 47.5) ** 2 + (y - 47.5) ** 2) / 48.0
    picture = np.empty((96, 96, 3))
    picture[:] = 0.07
    for middle in (0.30, 0.57, 0.84):
        picture[np.abs(radius - middle) < 0.085] = (0.24, 0.235, 0.235)
    return picture


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
    return picture[:, ::-1]  # LIBERO's pictures are turned by 180 degrees, not flipped: words in them read mirrored


def _write(picture: Picture, word: str, *, top: int, left: int, scale: int) -> None:
    """Draw a word in cream, six columns a letter."""
    for index, letter in enumerate(word):
        for row, bits in enumerate(_LETTERS[letter]):
            for column in range(5):
                if bits >> (4 - column) & 1:
                    y, x = top + row * scale, left + (6 * index + column) * scale
                    picture[y : y + scale, x : x + scale] = (0.98, 0.90, 0.55)


#: Picture name -> drawing function. The first two names are fixed by LIBERO's arena code.
TEXTURES: dict[str, Callable[[], Picture]] = {
    "light-gray-floor-tile": floor_tiles,
    "light-gray-plaster": wall_plaster,
    "table-wood": table_wood,
    "dark-wood": dark_wood,
    "stove-coils": stove_coils,
    "cookies-label": cookies_label,
}
