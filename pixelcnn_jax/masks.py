"""Causal masks: which taps a kernel has, and what its centre sees.

Raster order visits rows from top to bottom, the columns of a row from left to right,
and the channels of a pixel in order. A *tap* is the (row, column) offset of an input
from the position whose output it feeds; the centre is (0, 0). A causal kernel is the
list of its taps, so it stores no weight for what comes later. What a list can't say is
the order of the channels within the position's own pixel: that is the centre's mask,
of type A (channels strictly before the output's own) or type B (up to and including
it). Source: van den Oord et al. 2016, "Pixel Recurrent Neural Networks", section 3.4,
https://arxiv.org/abs/1601.06759
"""

from typing import Literal

import numpy as np

MaskType = Literal["A", "B"]

Tap = tuple[int, int]
Taps = tuple[Tap, ...]
"""Taps in raster order."""

CENTRE: Tap = (0, 0)


def square(size: int) -> Taps:
    """The causal half of a ``size x size`` kernel: all earlier taps and the centre."""
    half = _half(size)
    return tuple(
        (row, column)
        for row in range(-half, 1)
        for column in range(-half, half + 1)
        if (row, column) <= CENTRE
    )


def above(size: int, mask_type: MaskType = "B") -> Taps:
    """The vertical stack's part of a kernel: the rows above, whole.

    Type B adds the whole own row, for inputs that themselves know only rows above their
    own; type A, for images as input, does not. Source: van den Oord et al. 2016,
    "Conditional Image Generation with PixelCNN Decoders", section 2.2,
    https://arxiv.org/abs/1606.05328
    """
    half = _half(size)
    end = 0 if mask_type == "A" else 1
    columns = range(-half, half + 1)
    return tuple((row, column) for row in range(-half, end) for column in columns)


def left(size: int) -> Taps:
    """The horizontal stack's part of a kernel: the row so far and the centre."""
    return tuple((0, column) for column in range(-_half(size), 1))


def block(rows: int, columns: int) -> Taps:
    """A block of taps that ends, below and to the right, with the centre."""
    return tuple((r, c) for r in range(1 - rows, 1) for c in range(1 - columns, 1))


def _half(size: int) -> int:
    if size % 2 == 0 or size < 1:
        raise ValueError(f"the size of a kernel must be odd and positive, got {size}")
    return size // 2


def reach(taps: Taps) -> tuple[int, int, int]:
    """How many rows up, columns to the left and columns to the right taps reach."""
    rows, columns = zip(*taps, strict=True)
    return -min(rows), max(0, -min(columns)), max(0, *columns)


def channel_of_feature(
    num_features: int, num_channels: int, parts: int = 1
) -> np.ndarray:
    """The image channel that each feature belongs to: contiguous equal groups.

    Features of channel ``c`` may depend on the channels up to ``c`` of their own pixel.
    Features that are later split into ``parts`` equal parts, such as the two halves of
    a gate, have the groups within each part. Returns int ``[num_features]``.

    Raises:
        ValueError: ``num_features`` is not a multiple of ``parts * num_channels``.
    """
    unit = num_channels * parts
    if num_features % unit:
        nearest = max(1, round(num_features / unit)) * unit
        raise ValueError(
            f"the number of features must be a multiple of {parts} x {num_channels}"
            f" channels, got {num_features}; the nearest valid value is {nearest}"
        )
    each = num_features // parts
    return np.tile(np.arange(each) * num_channels // each, parts)


def live_taps(taps: Taps, mask_type: MaskType, num_channels: int = 1) -> Taps:
    """The taps that some output sees: of type A and one channel, all but the centre."""
    closed = mask_type == "A" and num_channels == 1
    return tuple(tap for tap in taps if not (closed and tap == CENTRE))


def kernel_mask(
    taps: Taps,
    mask_type: MaskType,
    in_features: int,
    out_features: int,
    num_channels: int = 1,
    parts: int = 1,
) -> np.ndarray:
    """The constant by which a kernel is multiplied: ones, but for the centre's order.

    Args:
        taps: the kernel's taps.
        mask_type: what the centre sees: "A" the channels before the output's own, "B"
            those up to and including it.
        in_features, out_features: C and D, in contiguous groups of channels. The first
            layer's inputs are the image's channels themselves.
        num_channels: channels of the image.
        parts: equal parts into which the outputs will be split.

    Returns:
        float32 ``[T, C, D]``.
    """
    mask = np.ones((len(taps), in_features, out_features), np.float32)
    if CENTRE in taps:
        sees = channel_of_feature(in_features, num_channels)[:, None]
        own = channel_of_feature(out_features, num_channels, parts)[None, :]
        # Earlier positions are known with all their channels; order is the centre's.
        mask[taps.index(CENTRE)] = sees < own if mask_type == "A" else sees <= own
    return mask


def as_square(taps: Taps, values_T: np.ndarray) -> np.ndarray:
    """Values of taps where they stand in the square kernel, as books draw masks.

    Args:
        values_T: ``[T, ...]``, such as a `kernel_mask`.

    Returns:
        ``[K, K, ...]`` with zeros where there is no tap; the centre is in the middle.
    """
    half = max(reach(taps))
    square = np.zeros((2 * half + 1, 2 * half + 1, *values_T.shape[1:]), values_T.dtype)
    for (row, column), value in zip(taps, values_T, strict=True):
        square[half + row, half + column] = value
    return square


def lag(taps: Taps, *, strict: bool) -> int | None:
    """Columns a row must stay behind the row above when rows are visited side by side.

    Args:
        taps: of one kernel.
        strict: whether an input must have been visited at an earlier step. False: it
            may be of the same step, since a step writes what it reads.

    Returns:
        At least 1; None if the kernel needs the whole own row, so that rows can't be
        visited side by side.
    """
    if any(row == 0 and column > 0 for row, column in taps):
        return None
    # Over -row rows the lag adds up to -row * lag columns, which must cover the tap's
    # own column, and one more if it must be of an earlier step.
    needs = [-(-(column + strict) // -row) for row, column in taps if row < 0]
    return max(1, *needs) if needs else 1
