"""Image steps against plain loops and other libraries; numbers that can be checked by hand."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from vlacache.models import preprocess
from vlacache.models.preprocess import frames_from_observation, jpeg_round_trip, resize_bicubic
from vlacache.types import Observation


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth shapes, an edge and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [127 + 90 * np.sin(x / (5 + c) + c) * np.cos(y / (9 - c)) for c in range(3)]
    picture = np.stack(waves, axis=-1) + rng.normal(0, 6, (height, width, 3))
    picture[height // 3 :, width // 2 :] += 60
    return picture.clip(0, 255).astype(np.uint8)


def resize_lanczos(picture: np.ndarray, size: int) -> np.ndarray:
    frames = torch.from_numpy(picture).permute(2, 0, 1)[None]
    return preprocess.resize_lanczos(frames, size)[0].permute(1, 2, 0).numpy()


def crop_centre(picture: np.ndarray) -> np.ndarray:
    frames = torch.from_numpy(picture).permute(2, 0, 1)[None]
    return preprocess.crop_centre(frames)[0].permute(1, 2, 0).numpy()


def lanczos(x: float) -> float:
    if x == 0:
        return 1.0
    return 0.0 if abs(x) >= 3 else 3 * math.sin(math.pi * x) * math.sin(math.pi * x / 3) / (math.pi * x) ** 2


def lanczos_line(line: np.ndarray, target: int) -> np.ndarray:
    """One line, sample by sample: pixel centres, kernel widened by the scale, weights normalised."""
    scale = len(line) / target
    out = np.zeros(target)
    for i in range(target):
        centre = (i + 0.5) * scale
        weights = [lanczos((j + 0.5 - centre) / max(scale, 1.0)) for j in range(len(line))]
        out[i] = np.dot(weights, line) / sum(weights)
    return out


@pytest.mark.parametrize(("size", "target"), [((32, 32), 28), ((20, 31), 14), ((10, 10), 16)])
def test_lanczos_against_a_plain_loop(size: tuple[int, int], target: int) -> None:
    picture = photo(*size)
    want = np.apply_along_axis(lanczos_line, 0, picture.astype(np.float64), target)
    want = np.apply_along_axis(lanczos_line, 1, want, target)
    clear = np.abs(want - np.floor(want) - 0.5) > 1e-3  # a value half way may round either way
    found = resize_lanczos(picture, target)
    assert np.array_equal(found[clear], np.rint(want).clip(0, 255)[clear]) and clear.mean() > 0.98


def test_lanczos_against_pillow_in_float() -> None:
    """Pillow's float mode does not round between the axes either."""
    picture = photo(256, 256)
    channels = [Image.fromarray(picture[..., c].astype(np.float32), mode="F") for c in range(3)]
    want = np.stack([np.asarray(c.resize((224, 224), Image.Resampling.LANCZOS)) for c in channels], axis=-1)
    difference = resize_lanczos(picture, 224).astype(np.float64) - want.clip(0, 255)
    assert np.abs(difference).max() <= 0.5 + 1e-3


def test_lanczos_keeps_a_flat_picture_and_rounds_halves_to_even() -> None:
    for value in (0, 1, 128, 254, 255):
        assert (resize_lanczos(np.full((256, 256, 3), value, np.uint8), 224) == value).all()


def crop_loop(picture: np.ndarray) -> np.ndarray:
    """``crop_and_resize`` with its box in corner-aligned coordinates, then floor(255.5 x)."""
    n, side = picture.shape[0], math.sqrt(0.9)
    out = np.zeros(picture.shape)
    first, last = (1 - side) / 2, (1 + side) / 2
    for i in range(n):
        for j in range(n):
            y, x = (first * (n - 1) + k * (last - first) * (n - 1) / (n - 1) for k in (i, j))
            t, left = int(y), int(x)
            a, b = y - t, x - left
            block = picture[t : t + 2, left : left + 2].astype(np.float64) / 255
            top, bottom = block[0, 0] * (1 - b) + block[0, 1] * b, block[1, 0] * (1 - b) + block[1, 1] * b
            out[i, j] = top * (1 - a) + bottom * a
    return out


def test_crop_against_a_plain_loop() -> None:
    picture = photo(28, 28)
    scaled = crop_loop(picture) * 255.5
    clear = np.abs(scaled - np.rint(scaled)) > 1e-3
    assert np.array_equal(crop_centre(picture)[clear], np.floor(scaled)[clear].astype(np.uint8))
    assert clear.mean() > 0.98


def test_crop_against_grid_sample() -> None:
    """torch's sampler with aligned corners draws the same box at the size that is used."""
    picture = photo(224, 224)
    side = math.sqrt(0.9)
    line = torch.linspace(-side, side, 224, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)[None]
    frame = torch.from_numpy(picture).permute(2, 0, 1)[None].double()
    want = F.grid_sample(frame, grid, align_corners=True)[0].permute(1, 2, 0).numpy() / 255
    assert np.abs(crop_centre(picture) - want * 255.5).max() <= 1.0
    assert (crop_centre(picture) <= want * 255.5 + 1e-3).all(), "it truncates"


def test_crop_saturates_and_keeps_flat_pictures() -> None:
    for value in range(256):
        assert (crop_centre(np.full((8, 8, 3), value, np.uint8)) == value).all()


def test_jpeg_is_quality_95_with_half_resolution_colour() -> None:
    picture = photo(64, 64)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95)  # Pillow's default is 4:2:0 as well
    assert np.array_equal(jpeg_round_trip(picture), np.array(Image.open(buffer)))
    change = np.abs(jpeg_round_trip(picture).astype(int) - picture)
    assert 0 < change.mean() < 6
    grey = np.full((16, 16, 3), 77, np.uint8)
    assert np.array_equal(jpeg_round_trip(grey), grey)


def test_bicubic_ignores_the_aspect_ratio() -> None:
    assert resize_bicubic(photo(75, 100), 56).shape == (56, 56, 3)
    square = photo(56, 56)
    assert resize_bicubic(square, 56) is square


def test_steps_run_in_order_on_every_view() -> None:
    images = {"agentview": photo(256, 256), "wrist": photo(256, 256, seed=1)}
    frames = frames_from_observation(
        Observation(images, "", None, 0), ("agentview", "wrist"), 224, ("jpeg", "lanczos", "crop")
    )
    assert frames.shape == (2, 3, 224, 224) and frames.dtype == torch.uint8
    for frame, picture in zip(frames, images.values(), strict=True):
        want = crop_centre(resize_lanczos(jpeg_round_trip(picture), 224))
        assert np.array_equal(frame.permute(1, 2, 0).numpy(), want)


def test_steps_that_leave_another_size_are_refused() -> None:
    observation = Observation({"agentview": photo(64, 64)}, "", None, 0)
    with pytest.raises(ValueError, match="expected 56 px at the end"):
        frames_from_observation(observation, ("agentview",), 56, ("jpeg",))
    with pytest.raises(ValueError, match="those of pictures before those of frames"):
        frames_from_observation(observation, ("agentview",), 56, ("lanczos", "jpeg"))
