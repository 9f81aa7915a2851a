"""Causal masks: which inputs each kernel entry of a layer may see.

Raster order visits rows from top to bottom, the columns of a row from left to right,
and the channels of a pixel in order. A mask lets an output see what comes earlier in
that order (type A: strictly earlier) or also itself (type B). Source: van den Oord et
al. 2016, "Pixel Recurrent Neural Networks", section 3.4, https://arxiv.org/abs/1601.06759

Rows below the centre can never be seen, so kernels and masks end with the centre row.
"""

from typing import Literal

import numpy as np

MaskType = Literal["A", "B"]

Stack = Literal["full", "vertical", "horizontal"]
"""What part of the context a kernel covers: all of it, the rows above, or the row so
far. The last two are the stacks of the Gated PixelCNN (van den Oord et al. 2016,
"Conditional Image Generation with PixelCNN Decoders", section 2.2,
https://arxiv.org/abs/1606.05328)."""


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


def causal_mask(
    kernel_size: int,
    mask_type: MaskType,
    in_features: int,
    out_features: int,
    num_channels: int = 1,
    *,
    stack: Stack = "full",
    parts: int = 1,
) -> np.ndarray:
    """The 0/1 mask of a causal kernel; its last row is the position's own.

    Args:
        kernel_size: side of the full square kernel, odd.
        mask_type: what the centre tap sees: "A" the channels before the output's own,
            "B" those up to and including it. In the vertical stack, whose features know
            only rows above their own, "A" closes the whole own row (for images as
            input) and "B" opens it (for features).
        in_features, out_features: features on either side, in contiguous groups.
            The first layer's inputs are the image's channels themselves.
        num_channels: channels of the image.
        stack: which part of the context the kernel covers.
        parts: equal parts into which the outputs will be split.

    Returns:
        float32 ``[rows, kernel_size, in_features, out_features]``, with rows 1 in the
        horizontal stack and ``kernel_size // 2 + 1`` elsewhere.
    """
    if kernel_size % 2 == 0 or kernel_size < 1:
        raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
    half = kernel_size // 2
    rows = 1 if stack == "horizontal" else half + 1
    mask = np.zeros((rows, kernel_size, in_features, out_features), np.float32)
    mask[:-1] = 1
    if stack == "vertical":
        mask[-1] = mask_type == "B"
        return mask
    mask[-1, :half] = 1
    sees = channel_of_feature(in_features, num_channels)[:, None]
    own = channel_of_feature(out_features, num_channels, parts)[None, :]
    mask[-1, half] = sees < own if mask_type == "A" else sees <= own
    return mask


def live_taps(mask: np.ndarray) -> list[tuple[int, int]]:
    """The (row, column) of each tap that any output sees, in raster order."""
    return [(int(r), int(c)) for r, c in np.argwhere(mask.any(axis=(2, 3)))]


def see_through(
    seen: np.ndarray, kernel_size: int, mask_type: MaskType, stack: Stack = "full"
) -> np.ndarray:
    """What the outputs of a causal layer see, given what its inputs see.

    Args:
        seen: bool ``[H, W, C, ...]``: what each position's features of each channel
            see.

    Returns:
        bool ``[H, W, C, ...]``, for the layer's outputs.
    """
    height, width, channels = seen.shape[:3]
    half = kernel_size // 2
    mask = causal_mask(
        kernel_size, mask_type, channels, channels, channels, stack=stack
    )
    above = len(mask) - 1
    rest = [(0, 0)] * (seen.ndim - 2)
    padded = np.pad(seen, [(above, 0), (half, half), *rest])
    out = np.zeros_like(seen)
    for row, column in live_taps(mask):
        inputs = padded[row : row + height, column : column + width]
        for source, target in np.argwhere(mask[row, column]):
            out[:, :, target] |= inputs[:, :, source]
    return out


def itself(height: int, width: int, num_channels: int = 1) -> np.ndarray:
    """Each input sees itself, ``[H, W, C, H, W, C]``: where receptive fields begin.

    Entry ``[r, c, k, i, j, l]`` of a receptive field says whether the output for
    channel ``k`` at ``(r, c)`` depends on channel ``l`` at ``(i, j)``. What is earlier
    in raster order and still False is the *blind spot*.
    """
    shape = (height, width, num_channels)
    return np.eye(int(np.prod(shape)), dtype=bool).reshape(*shape, *shape)


def receptive_field(
    layers: list[tuple[int, MaskType]], height: int, width: int, num_channels: int = 1
) -> np.ndarray:
    """Which inputs each output of a plain stack of causal layers can see; see `itself`.

    Args:
        layers: kernel size and mask type of each layer, from input to output.
    """
    seen = itself(height, width, num_channels)
    for kernel_size, mask_type in layers:
        seen = see_through(seen, kernel_size, mask_type)
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
