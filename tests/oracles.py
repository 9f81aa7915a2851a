"""Receptive fields computed from masks alone, independently of the layers."""

import numpy as np

from pixelcnn_jax.config import (
    GatedPixelCNNConfig,
    ModelConfig,
    PixelCNNConfig,
    PixelCNNPPConfig,
    PixelSNAILConfig,
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
    pads = (abs(row), abs(row)), (abs(column), abs(column))
    padded = np.pad(seen, [*pads, *[(0, 0)] * 4])
    top, left = abs(row) + row, abs(column) + column
    return padded[top : top + height, left : left + width]


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


# --- PixelCNN++, from the paper's picture of its streams: sets of pixels, no kernels


def pp_field(config: ModelConfig) -> np.ndarray:
    assert isinstance(config, PixelCNNPPConfig)
    c = config
    image = itself(c.height, c.width)
    v = through(image, [(r, x) for r in (-2, -1) for x in (-1, 0, 1)])
    h = through(image, [(-1, -1), (-1, 0), (-1, 1), (0, -1)])
    _, h = _pp_level(c, 0, v, h)
    return h


def _pp_level(c: PixelCNNPPConfig, level: int, v: np.ndarray, h: np.ndarray):
    def block_v(v, other=None):
        wide = [(r, x) for r in (-1, 0) for x in (-1, 0, 1)]
        inner = through(v, wide)
        return v | through(inner if other is None else inner | other, wide)

    def block_h(h, other):
        corner = [(-1, -1), (-1, 0), (0, -1), (0, 0)]
        return h | through(through(h, corner) | other, corner)

    left = [(v, h)]
    for _ in range(c.num_resnets):
        v = block_v(v)
        h = block_h(h, v)
        left.append((v, h))
    if level + 1 == c.resolutions:
        left.pop()
    else:
        wide = [(r, x) for r in (-1, 0) for x in (-1, 0, 1)]
        corner = [(-1, -1), (-1, 0), (0, -1), (0, 0)]
        coarse_v = through(v, wide)[::2, ::2]
        coarse_h = through(h, corner)[::2, ::2]
        coarse_v, coarse_h = _pp_level(c, level + 1, coarse_v, coarse_h)
        v, h = np.zeros_like(v), np.zeros_like(h)
        for row, column in np.ndindex(v.shape[:2]):
            cell = (row // 2, column // 2)
            h[row, column] = coarse_h[cell]
            v[row, column] = coarse_v[cell]
            if column % 2 and cell[1] + 1 < coarse_v.shape[1]:
                v[row, column] |= coarse_v[cell[0], cell[1] + 1]
    while left:
        other_v, other_h = left.pop()
        v = block_v(v, other_v)
        h = block_h(h, v | other_h)
    return v, h


# --- PixelSNAIL: what convolutions see, and all earlier pixels with what they see


def snail_field(config: ModelConfig) -> np.ndarray:
    assert isinstance(config, PixelSNAILConfig)
    c = config
    image = itself(c.height, c.width)
    seen = through(image, [(-1, -1), (-1, 0), (-1, 1), (0, -1)])
    corner = [(-1, -1), (-1, 0), (0, -1), (0, 0)]
    for _ in range(c.num_blocks):
        for _ in range(c.num_resnets):
            seen = seen | through(through(seen, corner), corner)
        told = (seen | image).reshape(c.height * c.width, -1)
        new = seen.reshape(told.shape).copy()
        for place in range(len(new)):
            new[place] |= told[:place].any(0)
        seen = new.reshape(seen.shape)
    return seen
