"""Pictures for people: grids of images, curves of a run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def to_pixels(images: np.ndarray, levels: int) -> np.ndarray:
    """Levels as 8-bit pixels for display: 0 is black, ``levels - 1`` is white."""
    return np.rint(np.asarray(images) * (255 / (levels - 1))).astype(np.uint8)


def grid(
    images: np.ndarray, levels: int, columns: int | None = None, min_width: int = 512
) -> np.ndarray:
    """Images side by side in one picture, in order, a row at a time.

    Args:
        images: levels ``[N, H, W, C]`` with C 1 or 3.
        columns: images in a row; None: as square as it goes.
        min_width: the picture is enlarged by a whole factor to about this many pixels.

    Returns:
        uint8 ``[height, width, 3]``.
    """
    count, _, width, channels = images.shape
    columns = columns or int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    scale = max(1, round(min_width / (columns * (width + 1))))
    gap = max(1, scale // 2)
    tiles = to_pixels(images, levels).repeat(scale, axis=1).repeat(scale, axis=2)
    tall, wide = tiles.shape[1:3]
    picture = np.full(
        (rows * (tall + gap) + gap, columns * (wide + gap) + gap, 3), 64, np.uint8
    )
    for index, tile in enumerate(tiles):
        top = gap + index // columns * (tall + gap)
        left = gap + index % columns * (wide + gap)
        # One channel broadcasts to grey. Of other numbers than 3 the first is shown.
        shown = tile if channels in (1, 3) else tile[..., :1]
        picture[top : top + tall, left : left + wide] = shown
    return picture


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
