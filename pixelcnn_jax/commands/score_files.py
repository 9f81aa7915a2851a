"""What evaluation writes down: scores of images and pixels, and pictures of them."""

import io
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pixelcnn_jax import pictures
from pixelcnn_jax.commands.image_files import write
from pixelcnn_jax.data import Lazy
from pixelcnn_jax.likelihood import Evaluation

SCORES, MOST, LEAST, BITS = FILES = (
    "scores.npz",
    "most_likely.png",
    "least_likely.png",
    "bits_per_pixel.png",
)
"""What is written."""

SHOWN = 64
"""Images in a picture."""


def write_scores(
    folder: Path,
    images: np.ndarray | Lazy,
    levels: int,
    found: Evaluation,
    pixels: np.ndarray,
    labels: np.ndarray | None,
    joint: np.ndarray | None,
    others: Mapping[str, np.ndarray],
) -> None:
    """Write ``scores.npz`` and three pictures.

    Args:
        folder: an existing one.
        images: levels ``[N, H, W, C]``.
        levels: that a channel can take.
        found: the images' likelihood.
        pixels: that of their pixels, nats ``[N, H, W]``.
        labels: the classes ``[N]``, if they have some.
        joint: log-probabilities of each image with each class ``[N, K]``, for a model
            with classes.
        others: more scores, by name.

    Raises:
        UserError: a file can't be written.
    """
    scores = {"nats": found.nats, "pixel_nats": pixels, **others}
    if labels is not None:
        scores["labels"] = labels
    if joint is not None:
        total = np.logaddexp.reduce(joint, axis=1, keepdims=True)
        scores["class_log_posterior"] = joint - total
    file = io.BytesIO()
    np.savez_compressed(file, **scores)  # type: ignore[arg-type]
    write(folder / SCORES, file.getvalue())
    order = np.argsort(found.nats, kind="stable")
    chosen = {MOST: order[:SHOWN], LEAST: order[::-1][:SHOWN]}
    for name, index in chosen.items():
        grid = pictures.grid(images[index], levels)
        write(folder / name, pictures.to_png(grid))
    write(folder / BITS, pictures.to_png(_map(pixels)))


def _map(pixels: np.ndarray) -> np.ndarray:
    """The mean bits of each pixel as a picture: black is 0, white the most."""
    bits = pixels.mean(axis=0) / math.log(2)
    shades = np.rint(bits * (255 / max(bits.max(), 1e-9))).clip(0, 255)
    return pictures.grid(shades[None, :, :, None], 256)
