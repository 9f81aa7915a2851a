"""From pixels to levels, or to the probability of one."""

import numpy as np


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


def quantize(images: np.ndarray, levels: int, source_levels: int = 256) -> np.ndarray:
    """``floor(value * levels / source_levels)``: equal bins over the source's range.

    Args:
        images: values in ``[0, source_levels)``, integers or floats.
        levels: levels to keep.
        source_levels: values that the source can take, 256 for 8-bit images.

    Returns:
        uint8, or uint16 for more than 256 levels, of the same shape.
    """
    dtype = np.uint8 if levels <= 256 else np.uint16
    if np.issubdtype(images.dtype, np.integer):
        # In wide integers, exactly: a product of two bytes does not fit in one.
        return (images.astype(np.int64) * levels // source_levels).astype(dtype)
    return np.floor(images.astype(np.float64) * levels / source_levels).astype(dtype)


def threshold(images: np.ndarray, share: float, source_levels: int = 256) -> np.ndarray:
    """Level 1 from ``share * source_levels`` on, 0 below.

    Source: the PixelCNN example of Keras (keras.io) binarises MNIST so, at 0.33.

    Args:
        images: values in ``[0, source_levels)``, integers or floats.
        share: above 0 and below 1.
        source_levels: values that the source can take.

    Returns:
        uint8 of the same shape, 0 or 1.
    """
    return (images >= share * source_levels).astype(np.uint8)


def brightness(images: np.ndarray, source_levels: int = 256) -> np.ndarray:
    """``value * 255 / (source_levels - 1)``, rounded: pixels as 8-bit images have them.

    Args:
        images: values in ``[0, source_levels)``, integers or floats.
        source_levels: values that the source can take.

    Returns:
        uint8 of the same shape.
    """
    return np.rint(images * (255 / (source_levels - 1))).astype(np.uint8)


def binarize(images: np.ndarray, seed: tuple[int, ...]) -> np.ndarray:
    """Level 1 with probability ``brightness / 255``, each pixel on its own.

    Source: R. Salakhutdinov and I. Murray, *On the Quantitative Analysis of Deep Belief
    Networks*, ICML 2008, who binarised MNIST so.

    Args:
        images: uint8 brightness.
        seed: of NumPy's generator. The first images' levels do not depend on how many
            follow.

    Returns:
        uint8 of the same shape, 0 or 1.
    """
    # Of the 255 values that the noise can take, as many are below a brightness.
    noise = np.random.default_rng(seed).integers(255, size=images.shape, dtype=np.uint8)
    return (noise < images).astype(np.uint8)
