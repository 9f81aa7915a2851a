"""Causal masks: which inputs each kernel entry of a layer may see.

Raster order visits rows from top to bottom, the columns of a row from left to right,
and the channels of a pixel in order. A mask lets an output see what comes earlier in
that order (type A: strictly earlier) or also itself (type B). Source: van den Oord et
al. 2016, "Pixel Recurrent Neural Networks", section 3.4, https://arxiv.org/abs/1601.06759

Rows below the centre can never be seen, so kernels and masks hold only the
``kernel_size // 2 + 1`` rows down to the centre.
"""

from typing import Literal

import numpy as np

MaskType = Literal["A", "B"]


def channel_of_feature(num_features: int, num_channels: int) -> np.ndarray:
    """The image channel that each feature belongs to: contiguous equal groups.

    Features of channel ``c`` may depend on the channels up to ``c`` of their own
    pixel. Returns int ``[num_features]``.

    Raises:
        ValueError: ``num_features`` is not a multiple of ``num_channels``.
    """
    if num_features % num_channels:
        nearest = max(1, round(num_features / num_channels)) * num_channels
        raise ValueError(
            f"the number of features must be a multiple of the {num_channels} channels,"
            f" got {num_features}; the nearest valid value is {nearest}"
        )
    return np.arange(num_features) * num_channels // num_features


def causal_mask(
    kernel_size: int,
    mask_type: MaskType,
    in_features: int,
    out_features: int,
    num_channels: int = 1,
) -> np.ndarray:
    """The 0/1 mask of a causal kernel.

    Args:
        kernel_size: side of the full square kernel, odd.
        mask_type: what the centre tap sees: "A" the channels before the output's own,
            "B" those up to and including it.
        in_features, out_features: features on either side, in contiguous groups.
            The first layer's inputs are the image's channels themselves.
        num_channels: channels of the image.

    Returns:
        float32 ``[kernel_size // 2 + 1, kernel_size, in_features, out_features]``.
    """
    if kernel_size % 2 == 0 or kernel_size < 1:
        raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
    half = kernel_size // 2
    mask = np.zeros((half + 1, kernel_size, in_features, out_features), np.float32)
    mask[:half] = 1
    mask[half, :half] = 1
    sees = channel_of_feature(in_features, num_channels)[:, None]
    own = channel_of_feature(out_features, num_channels)[None, :]
    mask[half, half] = sees < own if mask_type == "A" else sees <= own
    return mask


def live_taps(mask: np.ndarray) -> list[tuple[int, int]]:
    """The (row, column) of each tap that any output sees, in raster order."""
    return [(int(r), int(c)) for r, c in np.argwhere(mask.any(axis=(2, 3)))]


def receptive_field(
    layers: list[tuple[int, MaskType]], height: int, width: int, num_channels: int = 1
) -> np.ndarray:
    """Which inputs each output of a stack of causal layers can see.

    Args:
        layers: kernel size and mask type of each layer, from input to output.

    Returns:
        bool ``[H, W, C, H, W, C]``: entry ``[r, c, k, i, j, l]`` says whether the
        output for channel ``k`` at ``(r, c)`` depends on channel ``l`` at ``(i, j)``.
        What is earlier in raster order and still False is the *blind spot*.
    """
    shape = (height, width, num_channels)
    size = height * width * num_channels
    seen = np.eye(size, dtype=bool).reshape(*shape, *shape)
    for kernel_size, mask_type in layers:
        half = kernel_size // 2
        mask = causal_mask(
            kernel_size, mask_type, num_channels, num_channels, num_channels
        )
        padded = np.pad(seen, [(half, 0), (half, half)] + [(0, 0)] * 4)
        seen = np.zeros_like(seen)
        for row, column in live_taps(mask):
            inputs = padded[row : row + height, column : column + width]
            for source, target in np.argwhere(mask[row, column]):
                seen[:, :, target] |= inputs[:, :, source]
    return seen


def wavefront_lag(layers: list[tuple[int, MaskType]], num_channels: int = 1) -> int:
    """Columns by which a row may run behind the row above when rows run side by side.

    A type A layer needs the *drawn* pixels of its window, so the row ``k`` above must
    be past the window's right edge. A type B layer needs that row's features, which a
    step writes before it reads: they may be of the same step, unless pixels are drawn a
    channel a step, when features of later channels are still to come.
    """
    lag = 1
    for kernel_size, mask_type in layers:
        half = kernel_size // 2
        reach = half + 1 if mask_type == "A" or num_channels > 1 else half
        for rows_above in range(1, half + 1):
            lag = max(lag, -(-reach // rows_above))
    return lag
