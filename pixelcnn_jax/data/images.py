"""From pixels to levels, or to the probability of one."""

import numpy as np

from pixelcnn_jax.arrays import is_of_numbers, kind_of
from pixelcnn_jax.errors import require


def resize(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear resize with half-pixel centres and no antialiasing.

    The arithmetic, in float32 and in this order, is that of ``tf.image.resize``, whose
    values it gives bit for bit.

    Args:
        images: ``[N, H, W, C]``, any numeric type.

    Returns:
        float32 ``[N, height, width, C]``; ``images`` itself if the size is right.
    """
    if images.shape[1:3] == (height, width):
        return images
    top, bottom, row_share = _neighbours(images.shape[1], height)
    left, right, column_share = _neighbours(images.shape[2], width)
    row_share = row_share[:, None, None]
    column_share = column_share[:, None]

    def along_columns(rows: np.ndarray) -> np.ndarray:
        a, b = rows[:, :, left], rows[:, :, right]
        return a + (b - a) * column_share

    images = images.astype(np.float32)
    a, b = along_columns(images[:, top]), along_columns(images[:, bottom])
    return a + (b - a) * row_share


def _neighbours(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scale = np.float32(old) / np.float32(new)
    place = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * scale
    place -= np.float32(0.5)
    below = np.floor(place)
    low = np.clip(below, 0, old - 1).astype(int)
    high = np.clip(np.ceil(place), 0, old - 1).astype(int)
    return low, high, place - below


def _pixels(images: np.ndarray, source_levels: int, resized: bool) -> np.ndarray:
    """The images as an array, once their values are those that a source can have."""
    pixels = np.asarray(images)
    require(
        is_of_numbers(pixels),
        f"images must be numbers, got {kind_of(pixels)}; convert them",
    )
    low, high = (pixels.min(), pixels.max()) if pixels.size else (0, 0)
    require(
        bool(low >= 0 and high < source_levels),  # false of nan, too
        "images must have values of at least 0 and below source_levels,"
        f" {source_levels}, got {low} to {high}; scale them, or pass the source_levels"
        " that they have",
    )
    shares = pixels.dtype.kind == "f" and high <= 1 < source_levels - 1
    require(
        not shares or resized or not (pixels % 1).any(),
        f"images must be pixels of {source_levels} values, 0 to {source_levels - 1},"
        f" got floats from {low} to {high}, which would be black; multiply them by"
        f" {source_levels - 1}, or pass resized=True if dark pixels were resized",
    )
    return pixels


def quantize(
    images: np.ndarray, levels: int, source_levels: int = 256, *, resized: bool = False
) -> np.ndarray:
    """``floor(value * levels / source_levels)``: equal bins over the source's range.

    Args:
        images: values in ``[0, source_levels)``, integers or floats.
        levels: levels to keep.
        source_levels: values that the source can take, 256 for 8-bit images.
        resized: take floats that are all at most 1, as those of dark images may be once
            they are resized; else they are refused, since they may be meant as shares
            of the brightness.

    Returns:
        uint8, or uint16 for more than 256 levels, of the same shape.

    Raises:
        UserError: the values are others.
    """
    images = _pixels(images, source_levels, resized)
    dtype = np.uint8 if levels <= 256 else np.uint16
    if images.dtype.kind in "biu":
        # In wide integers, exactly: a product of two bytes does not fit in one.
        return (images.astype(np.int64) * levels // source_levels).astype(dtype)
    bins = np.asarray(np.floor(images.astype(np.float64) * levels / source_levels))
    # The product of the largest float below the range's end may be rounded up to it.
    return np.minimum(bins, levels - 1, out=bins).astype(dtype)


def threshold(
    images: np.ndarray,
    share: float,
    source_levels: int = 256,
    *,
    resized: bool = False,
) -> np.ndarray:
    """Level 1 from ``share * source_levels`` on, 0 below.

    Source: the PixelCNN example of Keras (keras.io) binarises MNIST so, at 0.33.

    Args:
        images: values in ``[0, source_levels)``, integers or floats.
        share: above 0 and below 1.
        source_levels: values that the source can take.
        resized: see `quantize`.

    Returns:
        uint8 of the same shape, 0 or 1.

    Raises:
        UserError: the values are others.
    """
    images = _pixels(images, source_levels, resized)
    return (images >= share * source_levels).astype(np.uint8)


def brightness(
    images: np.ndarray, source_levels: int = 256, *, resized: bool = False
) -> np.ndarray:
    """``value * 255 / (source_levels - 1)``, rounded: pixels as 8-bit images have them.

    Args:
        images: values in ``[0, source_levels)``, integers or floats.
        source_levels: values that the source can take.
        resized: see `quantize`.

    Returns:
        uint8 of the same shape.

    Raises:
        UserError: the values are others.
    """
    images = _pixels(images, source_levels, resized)
    bright = np.asarray(np.rint(images * (255 / (source_levels - 1))))
    # Floats may lie between the source's largest value and the range's end.
    return np.minimum(bright, 255, out=bright).astype(np.uint8)


def binarize(images: np.ndarray, seed: tuple[int, ...]) -> np.ndarray:
    """Level 1 with probability ``brightness / 255``, each pixel on its own.

    Source: R. Salakhutdinov and I. Murray, *On the Quantitative Analysis of Deep Belief
    Networks*, ICML 2008, who binarised MNIST so.

    Args:
        images: brightness, integers from 0 to 255.
        seed: of NumPy's generator. The first images' levels do not depend on how many
            follow.

    Returns:
        uint8 of the same shape, 0 or 1.

    Raises:
        UserError: they are others.
    """
    require(
        np.asarray(images).dtype.kind in "iu",
        f"images must be integers from 0 to 255, got {kind_of(np.asarray(images))};"
        " see data.brightness",
    )
    images = _pixels(images, 256, resized=False)
    # Of the 255 values that the noise can take, as many are below a brightness.
    noise = np.random.default_rng(seed).integers(255, size=images.shape, dtype=np.uint8)
    return (noise < images).astype(np.uint8)
