"""From an observation to tensors. Resizing belongs to the model, so that every simulator renders one size.

A model lists its image steps; each takes uint8 pixels and the model's image size and gives uint8 again. The published
LIBERO scripts do these steps in TensorFlow; here they are its formulas.
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
#: Of any model. Simulators render 256x256, 640x480 and 512x640.
MIN_SIDE, MAX_ASPECT = 16, 4


def frames_from_observation(
    observation: Observation,
    views: tuple[str, ...],
    image_size: int,
    steps: Sequence[ImageStep] = ("bilinear",),
    device: torch.device | str = "cpu",
) -> Tensor:
    """Stack the model's views after its image steps.

    Returns:
        uint8[V, 3, image_size, image_size] on ``device``.

    Raises:
        ValueError: a missing camera, a picture that is not uint8[H, W, 3], views of different size, a side below
            ``MIN_SIDE`` or a strip longer than ``MAX_ASPECT`` times its width, for LIBERO's steps a picture that is not
            square or too small, or steps that leave another size.
    """
    pictures = [_picture(observation, view) for view in views]
    _check_sizes(pictures, image_size, steps)
    on_host = [step for step in steps if step in PICTURE_STEPS]
    on_device = [step for step in steps if step in FRAME_STEPS]
    if [*on_host, *on_device] != list(steps):
        raise ValueError(f"image steps {list(steps)}: expected those of pictures before those of frames")
    for host_step in on_host:
        pictures = [PICTURE_STEPS[host_step](picture, image_size) for picture in pictures]
    stacked = torch.stack([torch.from_numpy(np.ascontiguousarray(picture)) for picture in pictures])
    frames = stacked.to(device, non_blocking=True).permute(0, 3, 1, 2)
    for device_step in on_device:
        frames = FRAME_STEPS[device_step](frames, image_size)
    if frames.shape[-2:] != (image_size, image_size):
        raise ValueError(
            f"image steps {list(steps)}: expected {image_size} px at the end, got {list(frames.shape[-2:])}"
        )
    return frames.contiguous()


def _picture(observation: Observation, view: str) -> NDArray[np.uint8]:
    if view not in observation.images:
        raise ValueError(f"observation: expected a picture of camera {view!r}, got {sorted(observation.images)}")
    picture = observation.images[view]
    if not isinstance(picture, np.ndarray):
        raise ValueError(f"picture of {view!r}: expected a numpy array uint8[H, W, 3], got {type(picture).__name__}")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"picture of {view!r}: expected uint8[H, W, 3], got {picture.dtype}{list(picture.shape)}")
    return picture


def _check_sizes(pictures: Sequence[NDArray[np.uint8]], image_size: int, steps: Sequence[ImageStep]) -> None:
    shapes = {p.shape for p in pictures}
    if len(shapes) > 1:
        raise ValueError(f"observation: expected views of one size, got {[p.shape for p in pictures]}")
    height, width, _ = shapes.pop()
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_ASPECT * min(height, width):
        raise ValueError(
            f"observation: expected pictures of at least {MIN_SIDE} px a side, at most {MAX_ASPECT} times as long as "
            f"wide, got {height}x{width}; stretched to {image_size} px nothing could be seen in them"
        )
    if "crop" in steps and (height != width or height < image_size):
        raise ValueError(
            f"observation: expected square pictures of at least {image_size} px (what it was trained on), "
            f"got {height}x{width}; set the simulator's image size"
        )


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


def resize_lanczos(frames: Tensor, image_size: int) -> Tensor:
    """``tf.image.resize(method="lanczos3", antialias=True)``, then rounded (halves to even) and clipped.

    Unlike Pillow's, it does not round between the two axes. uint8[V, 3, H, W] -> uint8[V, 3, size, size].
    """
    rows, columns = (_lanczos_weights(length, image_size, frames.device) for length in frames.shape[-2:])
    return _separable(frames, rows, columns).round_().clamp_(0, 255).byte()


def crop_centre(frames: Tensor, image_size: int = 0) -> Tensor:
    """Cut out the middle ``CROP_AREA`` and stretch it to the old size: ``crop_and_resize``, then saturate to uint8.

    The result is ``floor(255.5 x)`` of the interpolated value x in [0, 1], as ``convert_image_dtype`` has it.
    uint8[V, 3, H, W] -> same.
    """
    rows, columns = (_crop_weights(length, frames.device) for length in frames.shape[-2:])
    return _separable(frames, rows, columns).mul_(255.5 / 255.0).floor_().clamp_(0, 255).byte()


#: Steps on single pictures, on the host. They come first.
PICTURE_STEPS: dict[ImageStep, Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]] = {
    "bilinear": resize_bilinear,
    "bicubic": resize_bicubic,
    "jpeg": jpeg_round_trip,
}
#: Steps on all views together, on the model's device: two matrix products each.
FRAME_STEPS: dict[ImageStep, Callable[[Tensor, int], Tensor]] = {"lanczos": resize_lanczos, "crop": crop_centre}


def _separable(frames: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """float64[V, 3, h, w]: ``rows`` [h, H] and ``columns`` [w, W] applied along the two axes.

    In float64, so that no device's reduced-precision products (TF32) move a value over a rounding edge.
    """
    return rows @ frames.double() @ columns.T


@functools.lru_cache(maxsize=16)
def _lanczos_weights(length: int, target: int, device: torch.device) -> Tensor:
    """float64[target, length] Lanczos-3 weights at pixel centres, widened when shrinking, each row summing to 1."""
    scale = length / target
    width = max(scale, 1.0)
    centre = (torch.arange(target, dtype=torch.float64)[:, None] + 0.5) * scale
    x = (torch.arange(length, dtype=torch.float64) + 0.5 - centre) / width
    weights = torch.where(x.abs() < 3.0, torch.sinc(x) * torch.sinc(x / 3.0), 0.0)
    return (weights / weights.sum(dim=1, keepdim=True)).to(device)


@functools.lru_cache(maxsize=16)
def _crop_weights(length: int, device: torch.device) -> Tensor:
    """float64[length, length] bilinear weights; the crop's first and last sample fall on its edges."""
    side = math.sqrt(CROP_AREA)
    start = (1.0 - side) / 2.0 * (length - 1)
    at = start + torch.arange(length, dtype=torch.float64) * side
    lower = at.floor().long()
    weights = torch.zeros(length, length, dtype=torch.float64)
    index = torch.arange(length)
    weights[index, lower] = 1.0 - (at - lower)
    weights[index, (lower + 1).clamp_max(length - 1)] += at - lower
    return weights.to(device)
