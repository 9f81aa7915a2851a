"""Pictures for people: grids of images, curves of a run."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pixelcnn_jax.files import write_bytes

COLOURS = (1, 3)
"""Channels that one tile shows; of another number they stand side by side."""

GRID_WIDTH = 512
"""Pixels that a grid is about wide: small images are enlarged by a whole factor."""

CLASS_COLUMNS = 16
"""Images of a class in a row, at least, before it takes another row."""


def to_pixels(images: np.ndarray, levels: int) -> np.ndarray:
    """Levels as 8-bit pixels for display: 0 is black, ``levels - 1`` is white."""
    return np.rint(np.asarray(images) * (255 / (levels - 1))).astype(np.uint8)


def grid(
    images: np.ndarray, levels: int, labels: np.ndarray | None = None
) -> np.ndarray:
    """Images side by side in one picture: as square as it goes, or a row per class.

    Args:
        images: levels ``[N, H, W, C]``. One channel is shown in grey, three in colour;
            of another number each channel is shown in grey, beside the one before it.
        labels: int ``[N]``: if they are of several classes, each class has a row, in
            the order of the classes; or several rows, if one would be long.

    Returns:
        uint8 ``[height, width, 3]``.
    """
    return arrange(to_tiles(images, levels), labels)


def to_tiles(images: np.ndarray, levels: int) -> np.ndarray:
    """What a grid shows of each image: uint8 ``[N, H, W', 3]``.

    ``W'`` is the width, or more if channels stand side by side; see `grid`.
    """
    tiles = to_pixels(images, levels)
    if tiles.shape[-1] not in COLOURS:
        count, height = tiles.shape[:2]
        tiles = tiles.transpose(0, 1, 3, 2).reshape(count, height, -1, 1)
    return np.broadcast_to(tiles, (*tiles.shape[:3], 3))


def arrange(tiles: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """Tiles uint8 ``[N, H, W, 3]`` side by side, as `grid` does with images."""
    count, height, width = tiles.shape[:3]
    places, scale, gap, size = _layout(count, height, width, labels)
    tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    tall, wide = tiles.shape[1:3]
    picture = np.full((*size, 3), 64, np.uint8)
    for tile, (row, column) in zip(tiles, places, strict=True):
        top, left = gap + row * (tall + gap), gap + column * (wide + gap)
        picture[top : top + tall, left : left + wide] = tile
    return picture


def grid_size(
    shape: Sequence[int], labels: np.ndarray | None = None
) -> tuple[int, int]:
    """Height and width of the `grid` of images ``[N, H, W, C]``."""
    count, height, width, channels = shape
    width *= 1 if channels in COLOURS else channels
    return _layout(count, height, width, labels).size


class _Layout(NamedTuple):
    """Where the tiles of a picture go."""

    places: list[tuple[int, int]]
    """The row and column of each."""
    scale: int
    """By which they are enlarged."""
    gap: int
    """Pixels between them."""
    size: tuple[int, int]
    """Height and width of the picture."""


def _layout(count: int, height: int, width: int, labels: np.ndarray | None) -> _Layout:
    places = _places(count, labels)
    rows, columns = (1 + max(place[axis] for place in places) for axis in (0, 1))
    scale = max(1, round(GRID_WIDTH / (columns * (width + 1))))
    gap = max(1, scale // 2)
    size = (
        rows * (height * scale + gap) + gap,
        columns * (width * scale + gap) + gap,
    )
    return _Layout(places, scale, gap, size)


def _places(count: int, labels: np.ndarray | None) -> list[tuple[int, int]]:
    """The row and column of each image of a grid."""
    classes, sizes = np.unique([] if labels is None else labels, return_counts=True)
    if len(classes) < 2:
        columns = int(np.ceil(np.sqrt(count)))
        return [divmod(index, columns) for index in range(count)]
    # As many as a square would have, or more: a few classes would make a ribbon.
    columns = max(CLASS_COLUMNS, int(np.ceil(np.sqrt(count))))
    heights = -(-sizes // columns)
    # The next free place of each class, counted in whole rows from the first one.
    free = dict(
        zip(classes.tolist(), (heights.cumsum() - heights) * columns, strict=True)
    )
    places = []
    for label in np.asarray(labels).tolist():
        places.append(divmod(int(free[label]), columns))
        free[label] += 1
    return places


HEAT = np.array(
    [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]]
)
"""Colours from cold to hot: those of Matplotlib's "inferno"."""


def to_heat(values: np.ndarray, most: float) -> np.ndarray:
    """Numbers from 0 to ``most`` as colours, uint8 ``[..., 3]``."""
    place = np.asarray(values, np.float64) / max(most, 1e-9)
    anchors = np.linspace(0, 1, len(HEAT))
    colours = [np.interp(place, anchors, channel) for channel in HEAT.T]
    return np.rint(np.stack(colours, -1)).astype(np.uint8)


def to_png(picture: np.ndarray) -> bytes:
    """uint8 ``[H, W, 3]`` as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="png")
    return file.getvalue()


def save_curves(
    path: Path, epochs: Sequence[int], curves: Mapping[str, Sequence[float]]
) -> None:
    """Plot bits per dimension over epochs; nan stands for what was not measured."""
    # Matplotlib takes a second to import, and only training plots.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for label, values in curves.items():
        if np.isfinite(values).any():
            axes.plot(epochs, values, marker=".", label=f"{label} ({values[-1]:.4f})")
    axes.set_xlabel("epoch")
    axes.set_ylabel("bits per dimension")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    write_bytes(path, file.getvalue())
