"""Receptive fields computed from masks alone, independently of the layers."""

import numpy as np

from pixelcnn_jax.config import (
    GatedPixelCNNConfig,
    ModelConfig,
    PixelCNNConfig,
)


def itself(height: int, width: int, channels: int = 1) -> np.ndarray:
    """Each input sees itself, ``[H, W, C, H, W, C]``: where receptive fields begin.

    Entry ``[r, c, k, i, j, l]`` says whether the output for channel ``k`` at ``(r, c)``
    depends on channel ``l`` at ``(i, j)``.
    """
    shape = (height, width, channels)
    return np.eye(int(np.prod(shape)), dtype=bool).reshape(*shape, *shape)


def moved(seen: np.ndarray, row: int, column: int) -> np.ndarray:
    """What the position at this offset from each sees; nothing outside the image."""
    height, width = seen.shape[:2]
    out = np.zeros_like(seen)
    for r in range(height):
        for c in range(width):
            if 0 <= r + row < height and 0 <= c + column < width:
                out[r, c] = seen[r + row, c + column]
    return out


def through(seen: np.ndarray, offsets, centre: str | None = None) -> np.ndarray:
    """What outputs see through a kernel that is open at ``offsets``.

    ``centre``: how channels see those of their own pixel, "A" strictly earlier ones,
    "B" themselves too; None: no tap at the centre.
    """
    out = np.zeros_like(seen)
    for row, column in offsets:
        out |= moved(seen, row, column).any(axis=2, keepdims=True)
    if centre is not None:
        strict = centre == "A"
        for target in range(seen.shape[2]):
            for source in range(target + 1 - strict):
                out[:, :, target] |= seen[:, :, source]
    return out


def rows_above(size: int) -> list[tuple[int, int]]:
    half = size // 2
    return [(r, c) for r in range(-half, 0) for c in range(-half, half + 1)]


def row_so_far(size: int) -> list[tuple[int, int]]:
    return [(0, c) for c in range(-(size // 2), 0)]


def book_field(config: ModelConfig) -> np.ndarray:
    assert isinstance(config, PixelCNNConfig)
    c = config
    seen = itself(c.height, c.width, c.ordered_channels)
    for index, size in enumerate(
        [c.first_kernel_size] + [c.kernel_size] * c.num_blocks
    ):
        offsets = rows_above(size) + row_so_far(size)
        new = through(seen, offsets, "B" if index else "A")
        seen = new | seen if index else new
    return seen


def gated_field(config: ModelConfig) -> np.ndarray:
    assert isinstance(config, GatedPixelCNNConfig)
    c = config
    h = v = itself(c.height, c.width, c.ordered_channels)
    for index, size in enumerate(
        [c.first_kernel_size] + [c.kernel_size] * c.num_layers
    ):
        own_row = [(0, x) for x in range(-(size // 2), size // 2 + 1)] if index else []
        v = through(v, rows_above(size) + own_row)
        # The link is open to every channel of the rows above.
        new = through(h, row_so_far(size), "B" if index else "A")
        new = new | v.any(axis=2, keepdims=True)
        h = new | h if index else new
    return h
