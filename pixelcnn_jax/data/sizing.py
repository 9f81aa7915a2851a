"""Images of any size and number of channels to those of a model."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

Shape = tuple[int, int, int]
"""Height, width, channels."""


def sized(
    images: Sequence[np.ndarray] | np.ndarray,
    shape: Shape,
    fit: Literal["resize", "crop"],
) -> np.ndarray:
    """Images ``[H, W, C]`` of whatever size as ``[N, *shape]``.

    Colour becomes grey by its luma (ITU-R 601), grey becomes colour by repetition.

    Args:
        images: integers, each of 1, 3 or as many channels as asked for.
        shape: what each is to be.
        fit: "resize" with antialiasing, or "crop" the middle out.

    Returns:
        Their own type, or float32 if one had to be resized.
    """
    if isinstance(images, np.ndarray) and images.shape[1:] == shape:
        return images
    brought = [_fitted(_channels(x, shape[2]), shape, fit) for x in images]
    return np.stack(brought) if brought else np.empty((0, *shape), np.uint8)


def _channels(image: np.ndarray, channels: int) -> np.ndarray:
    if image.shape[-1] == channels:
        return image
    if channels == 3:
        return image.repeat(3, axis=-1)
    # The integers of Pillow, which sum to 2**16: grey stays exactly as it is.
    luma = image.astype(np.int64) @ np.array([19595, 38470, 7471]) + 2**15
    return (luma >> 16).astype(image.dtype)[..., None]


def _fitted(image: np.ndarray, shape: Shape, fit: str) -> np.ndarray:
    height, width, _ = shape
    if image.shape[:2] == (height, width):
        return image
    if fit == "crop":
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        return image[top : top + height, left : left + width]
    # In floats, channel by channel: Pillow's other modes round, or have 8 bits.
    channels = [
        Image.fromarray(image[..., channel].astype(np.float32)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
        for channel in range(image.shape[-1])
    ]
    return np.stack([np.asarray(x) for x in channels], axis=-1)
