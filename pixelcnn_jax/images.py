"""Pictures for people: grids of images, curves of a run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def to_pixels(images: np.ndarray, levels: int) -> np.ndarray:
    """Levels as 8-bit pixels for display: 0 is black, ``levels - 1`` is white."""
    return np.rint(np.asarray(images) * (255 / (levels - 1))).astype(np.uint8)


def grid(
    images: np.ndarray,
    levels: int,
    labels: np.ndarray | None = None,
    min_width: int = 512,
) -> np.ndarray:
    """Images side by side in one picture: as square as it goes, or a row a class.

    Args:
        images: levels ``[N, H, W, C]`` with C 1 or 3.
        labels: int ``[N]``: where they are of several classes, each class has a row, in
            the order of the classes.
        min_width: the picture is enlarged by a whole factor to about this many pixels.

    Returns:
        uint8 ``[height, width, 3]``.
    """
    places = _places(len(images), labels)
    rows, columns = (1 + max(place[axis] for place in places) for axis in (0, 1))
    width, channels = images.shape[2:]
    scale = max(1, round(min_width / (columns * (width + 1))))
    gap = max(1, scale // 2)
    tiles = to_pixels(images, levels).repeat(scale, axis=1).repeat(scale, axis=2)
    tall, wide = tiles.shape[1:3]
    picture = np.full(
        (rows * (tall + gap) + gap, columns * (wide + gap) + gap, 3), 64, np.uint8
    )
    for tile, (row, column) in zip(tiles, places, strict=True):
        top, left = gap + row * (tall + gap), gap + column * (wide + gap)
        # One channel broadcasts to grey. Of other numbers than 3 the first is shown.
        shown = tile if channels in (1, 3) else tile[..., :1]
        picture[top : top + tall, left : left + wide] = shown
    return picture


def _places(count: int, labels: np.ndarray | None) -> list[tuple[int, int]]:
    """The row and column of each image of a grid."""
    classes = [] if labels is None else sorted(set(np.asarray(labels).tolist()))
    if len(classes) < 2:
        columns = int(np.ceil(np.sqrt(count)))
        return [divmod(index, columns) for index in range(count)]
    filled = dict.fromkeys(classes, -1)
    places = []
    for label in np.asarray(labels).tolist():
        filled[label] += 1
        places.append((classes.index(label), filled[label]))
    return places


def save_png(path: Path, picture: np.ndarray) -> None:
    """Write uint8 ``[H, W, 3]`` as PNG, whole or not at all."""
    scratch = path.with_name(f".{path.name}.tmp")
    Image.fromarray(picture).save(scratch, format="png")
    scratch.replace(path)


def save_curves(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """Plot bits per dimension over epochs, from the rows of ``metrics.csv``."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    epochs = [row["epoch"] for row in rows]
    for name, label in (("train", "training"), ("validation", "validation")):
        values = [row.get(f"{name}_bits_per_dim", np.nan) for row in rows]
        if np.isfinite(values).any():
            last = values[-1]
            axes.plot(epochs, values, marker=".", label=f"{label} ({last:.4f})")
    axes.set_xlabel("epoch")
    axes.set_ylabel("bits per dimension")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    scratch = path.with_name(f".{path.name}.tmp")
    figure.savefig(scratch, format="png", dpi=120)
    scratch.replace(path)
