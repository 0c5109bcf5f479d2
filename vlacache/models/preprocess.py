"""From an observation to tensors. Resizing belongs to the model, so that every simulator renders one size.

A model lists its image steps; each takes uint8[H, W, 3] and the model's image size and gives uint8 again. The
published LIBERO scripts do these steps in TensorFlow; here they are its formulas.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vlacache.models.config import ImageStep
from vlacache.types import Observation

#: TensorFlow's ``encode_jpeg`` without arguments: quality 95, colour at half resolution (4:2:0).
_JPEG_QUALITY, _JPEG_SUBSAMPLING = 95, 2
#: Share of the picture's area that the evaluation crop keeps; the models were trained on random crops of this size.
CROP_AREA = 0.9


def frames_from_observation(
    observation: Observation, views: tuple[str, ...], image_size: int, steps: Sequence[ImageStep] = ("bilinear",)
) -> Tensor:
    """Stack the model's views after its image steps.

    Returns:
        uint8[V, 3, image_size, image_size] on the CPU.

    Raises:
        ValueError: a missing camera, a picture that is not uint8[H, W, 3], views of different size, or steps that
            leave another size (a crop keeps the size of what it gets).
    """
    pictures = []
    for view in views:
        if view not in observation.images:
            raise ValueError(f"observation: expected a picture of camera {view!r}, got {sorted(observation.images)}")
        picture = observation.images[view]
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise ValueError(f"picture of {view!r}: expected uint8[H, W, 3], got {picture.dtype}{list(picture.shape)}")
        pictures.append(picture)
    if len({p.shape for p in pictures}) > 1:
        raise ValueError(f"observation: expected views of one size, got {[p.shape for p in pictures]}")
    frames = torch.stack([_as_frame(picture, image_size, steps) for picture in pictures])
    if frames.shape[-2:] != (image_size, image_size):
        raise ValueError(
            f"image steps {list(steps)}: expected {image_size} px at the end, got {list(frames.shape[-2:])}"
        )
    return frames


def _as_frame(picture: NDArray[np.uint8], image_size: int, steps: Sequence[ImageStep]) -> Tensor:
    for step in steps:
        picture = STEPS[step](picture, image_size)
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)


def resize_bilinear(picture: NDArray[np.uint8], image_size: int) -> NDArray[np.uint8]:
    """torch's bilinear resize with antialiasing (the tiny models)."""
    if picture.shape[:2] == (image_size, image_size):
        return picture
    frame = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    resized = F.interpolate(frame, size=(image_size, image_size), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def resize_bicubic(picture: NDArray[np.uint8], image_size: int) -> NDArray[np.uint8]:
    """Pillow's bicubic resize without keeping the aspect ratio: the published image processor (``resize-naive``)."""
    if picture.shape[:2] == (image_size, image_size):
        return picture
    return np.array(Image.fromarray(picture).resize((image_size, image_size), Image.Resampling.BICUBIC))


def jpeg_round_trip(picture: NDArray[np.uint8], image_size: int = 0) -> NDArray[np.uint8]:
    """Encode and decode as the training data were stored; keeps the size."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=_JPEG_SUBSAMPLING)
    return np.array(Image.open(buffer))


def resize_lanczos(picture: NDArray[np.uint8], image_size: int) -> NDArray[np.uint8]:
    """``tf.image.resize(method="lanczos3", antialias=True)``, then rounded (halves to even) and clipped.

    Unlike Pillow's, it does not round between the two axes.
    """
    rows = _lanczos_weights(picture.shape[0], image_size)
    columns = _lanczos_weights(picture.shape[1], image_size)
    return _separable(picture, rows, columns).round_().clamp_(0, 255).byte().numpy()


def crop_centre(picture: NDArray[np.uint8], image_size: int = 0) -> NDArray[np.uint8]:
    """Cut out the middle ``CROP_AREA`` and stretch it to the old size: ``crop_and_resize``, then saturate to uint8.

    The result is ``floor(255.5 x)`` of the interpolated value x in [0, 1], as ``convert_image_dtype`` has it.
    """
    rows, columns = (_crop_weights(length) for length in picture.shape[:2])
    cropped = _separable(picture, rows, columns).div_(255.0).clamp_(0.0, 1.0)
    return cropped.mul_(255.5).floor_().clamp_(0, 255).byte().numpy()


STEPS: dict[ImageStep, Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]] = {
    "bilinear": resize_bilinear,
    "bicubic": resize_bicubic,
    "jpeg": jpeg_round_trip,
    "lanczos": resize_lanczos,
    "crop": crop_centre,
}


def _separable(picture: NDArray[np.uint8], rows: Tensor, columns: Tensor) -> Tensor:
    """float32[h, w, 3]: ``rows`` [h, H] and ``columns`` [w, W] applied along the two axes."""
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).float()
    height, width, channels = pixels.shape
    vertical = (rows @ pixels.reshape(height, width * channels)).view(-1, width, channels)
    return torch.matmul(columns, vertical)


@functools.lru_cache(maxsize=16)
def _lanczos_weights(length: int, target: int) -> Tensor:
    """float32[target, length] Lanczos-3 weights at pixel centres, widened when shrinking, each row summing to 1."""
    scale = length / target
    width = max(scale, 1.0)
    centre = (torch.arange(target, dtype=torch.float64)[:, None] + 0.5) * scale
    x = (torch.arange(length, dtype=torch.float64) + 0.5 - centre) / width
    weights = torch.where(x.abs() < 3.0, torch.sinc(x) * torch.sinc(x / 3.0), 0.0)
    return (weights / weights.sum(dim=1, keepdim=True)).float()


@functools.lru_cache(maxsize=16)
def _crop_weights(length: int) -> Tensor:
    """float32[length, length] bilinear weights; the crop's first and last sample fall on its edges."""
    side = math.sqrt(CROP_AREA)
    start = (1.0 - side) / 2.0 * (length - 1)
    at = start + torch.arange(length, dtype=torch.float64) * side * (length - 1) / max(length - 1, 1)
    lower = at.floor().long()
    weights = torch.zeros(length, length, dtype=torch.float64)
    index = torch.arange(length)
    weights[index, lower] = 1.0 - (at - lower)
    weights[index, (lower + 1).clamp_max(length - 1)] += at - lower
    return weights.float()


def proprio_from_observation(observation: Observation, proprio_dim: int) -> Tensor:
    """float32[S] on the CPU.

    Raises:
        ValueError: no proprio, a wrong size, or numbers that are not finite.
    """
    values = observation.proprio
    if values is None or values.shape != (proprio_dim,):
        got = "None" if values is None else f"shape {values.shape}"
        raise ValueError(f"proprio: expected float32[{proprio_dim}], got {got}; this model needs the robot's state")
    if not np.all(np.isfinite(values)):
        raise ValueError(f"proprio: expected finite numbers, got {values.tolist()}")
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
