"""Completions of given images, for the sample command."""

import dataclasses
from pathlib import Path

import numpy as np

from pixelcnn_jax.arguments import require_range
from pixelcnn_jax.commands.image_files import read_images, read_mask
from pixelcnn_jax.config import IMAGES, DataConfig, ModelConfig
from pixelcnn_jax.data import decoding, labelled_alike, open_own, own_set
from pixelcnn_jax.errors import require
from pixelcnn_jax.models.input_checks import LEVELS_CURE


@dataclasses.dataclass(frozen=True)
class Task:
    """Images to complete."""

    images: np.ndarray
    """Levels ``[N, H, W, C]``."""
    known: np.ndarray
    """bool ``[N, H, W]``."""
    labels: np.ndarray | None
    """Classes ``[N]`` that came with the images; None for a model without."""

    def first(self, count: int) -> "Task":
        """The first images only."""
        labels = None if self.labels is None else self.labels[:count]
        return Task(self.images[:count], self.known[:count], labels)


def read_task(
    complete: str,
    known_rows: int | None,
    known: str | None,
    model: ModelConfig,
    data: DataConfig,
) -> Task:
    """What the flags of those names ask for.

    Args:
        complete: see `sample.Settings`, as for the others.
        known_rows: likewise.
        known: likewise.
        model: what the images are to be completed by.
        data: how its training images were brought to levels.

    Raises:
        UserError: they contradict each other, or a file can't be read or does not fit.
    """
    images, labels = _images(complete, model, data)
    require(
        images.ndim == 4 and np.issubdtype(images.dtype, np.integer),
        "complete must hold integer levels [N, H, W, C], got"
        f" {images.dtype} {list(images.shape)}",
    )
    require(
        len(images) > 0,
        f"complete must hold at least one image, got none in {complete}; pass others",
    )
    require(
        (known_rows is None) != (known is None),
        "--known-rows or --known must say which pixels are known, one of the two, got"
        f" {'neither' if known is None else 'both'}",
    )
    shape = images.shape[:3]
    if known is not None:
        mask = read_mask("known", known)
        require(
            mask.shape in (shape, shape[1:]),
            f"known must have the size of the images, {list(shape[1:])}, got"
            f" {list(mask.shape)}; resize it",
        )
    else:
        rows = known_rows or 0
        require(
            0 <= rows <= shape[1],
            f"known_rows must be from 0 to the height of the images, {shape[1]}, got"
            f" {rows}",
        )
        mask = (np.arange(shape[1]) < rows)[:, None]
    mask = np.broadcast_to(mask, shape)
    # Unknown pixels may hold anything.
    what = f"known levels of {complete}"
    require_range(what, images[mask], model.levels, LEVELS_CURE)
    return Task(images, mask, labels if model.num_classes else None)


def _images(
    complete: str, model: ModelConfig, data: DataConfig
) -> tuple[np.ndarray, np.ndarray | None]:
    """The images of a file, or of a folder, and labels if they have some."""
    place = Path(complete)
    if not place.is_dir():
        rule = "complete must be a .npy or .npz file of levels, or a folder of images"
        require(
            place.exists(),
            f"{rule}, got {complete}, which is not there; pass one that is",
        )
        require(
            place.suffix.lower() not in decoding.SUFFIXES,
            f"{rule}, got {complete}; put it into a folder and pass that",
        )
        images, labels = read_images("complete", complete)
        return images[..., None] if images.ndim == 3 else images, labels
    own = open_own(dataclasses.replace(data, source=IMAGES, path=complete))
    # Labels may be missing here: they can be given otherwise.
    found = own_set(own, data, model.without_classes())
    known = bool(model.num_classes) and labelled_alike(own, data, model)
    return np.asarray(found.images), found.labels if known else None


SHOWN = 2
"""Images of a strip before its completions: the original, and what is known of it."""


def strip_rows(count: int, num_completions: int) -> np.ndarray:
    """Which of so many images each one of `strips` belongs to."""
    return np.arange(count).repeat(SHOWN + num_completions)


def strips(
    task: Task, completions: np.ndarray, levels: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each image the original, its known part and its completions.

    Args:
        task: N images.
        completions: ``[N, K, H, W, C]``.
        levels: of a channel; unknown pixels are shown in the middle of the scale.

    Returns:
        images ``[N * (2 + K), H, W, C]``, and which of the N each belongs to.
    """
    original = np.clip(task.images, 0, levels - 1)
    known = np.where(task.known[..., None], original, levels // 2)
    rows = np.concatenate([original[:, None], known[:, None], completions], axis=1)
    return rows.reshape(-1, *rows.shape[2:]), strip_rows(*completions.shape[:2])


def drawn_strips(steps: np.ndarray, num_completions: int) -> np.ndarray:
    """When each pixel of `strips` is drawn, int ``[N * (2 + K), H, W]``.

    Args:
        steps: of a completion of each image, ``[N, H, W]``; -1 where it is known.
        num_completions: K.
    """
    shown = np.full((len(steps), SHOWN, *steps.shape[1:]), -1)
    drawn = steps[:, None].repeat(num_completions, axis=1)
    return np.concatenate([shown, drawn], axis=1).reshape(-1, *steps.shape[1:])
