"""How images came about, for the sample command: an animation, a map of entropies."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pixelcnn_jax import animation, hosts, pictures
from pixelcnn_jax.commands.image_files import require_writable, write
from pixelcnn_jax.commands.sample_settings import Settings
from pixelcnn_jax.entropy import entropy_map
from pixelcnn_jax.errors import require
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.output import say

MOST_IMAGES = 1024
"""That can be watched: they are all in one picture."""

MOST_PIXELS = {".gif": 2**16 - 1, ".webp": 2**14 - 1}
"""Of the height or the width of an animation's picture."""


@dataclasses.dataclass(frozen=True)
class Watched:
    """Images of one picture, and how they came about."""

    images: np.ndarray
    """Levels ``[N, H, W, C]``."""
    steps: np.ndarray
    """int ``[N, H, W]``, when each pixel was drawn; negative: it was not."""
    given: Mapping[str, np.ndarray | None]
    """The conditions of each, ``[N, ...]``, by the names that `entropy_map` has."""
    rows: np.ndarray | None
    """The row of each in the picture, ``[N]``; see `pictures.grid`."""


def check_watch(settings: Settings, folder: bool) -> None:
    """Raise if the images that are asked for can't be watched, or not into there."""
    if not settings.watched:
        return
    require(
        not folder and settings.sampler is None,
        f"{settings.watched[0]} needs images that a run draws into a file, got"
        f" {'a folder' if folder else 'an exported sampler'}; pass an output such as"
        " samples.png",
    )
    hosts.by_first(lambda: _require_writable(settings))


def _require_writable(settings: Settings) -> None:
    if settings.animate is not None:
        require_writable(Path(settings.animate), (".gif", ".webp"), "animate")
    if settings.entropy is not None:
        require_writable(Path(settings.entropy), (".png",), "entropy")


def check_picture(
    settings: Settings, shape: tuple[int, ...], rows: np.ndarray | None
) -> None:
    """Raise if there are too many images for a picture, or if it would be too large.

    Args:
        settings: of the command.
        shape: of the images to be shown, ``[N, H, W, C]``.
        rows: see `Watched`.
    """
    if not settings.watched:
        return
    require(
        shape[0] <= MOST_IMAGES,
        f"{settings.watched[0]} shows at most {MOST_IMAGES} images, got {shape[0]};"
        " try fewer",
    )
    if settings.animate is not None:
        most = MOST_PIXELS[Path(settings.animate).suffix]
        height, width = pictures.grid_size(shape, rows)
        require(
            max(height, width) <= most,
            f"animate must show a picture of at most {most} pixels to a side, got"
            f" {height} by {width}; draw fewer or smaller images",
        )


def write_watched(settings: Settings, model: PixelModel, watched: Watched) -> None:
    """Write what the flags ask for.

    Raises:
        UserError: a file can't be written.
    """
    levels = model.config.levels
    if settings.animate is not None:
        path = Path(settings.animate)
        shown = animation.frames(watched.images, watched.steps, levels, watched.rows)
        write(path, animation.to_animation(shown, path.suffix))
        say(f"{path}: {1 + watched.steps.max()} steps")
    if settings.entropy is not None:
        picture, most = _entropies(model, watched, settings.batch_size)
        write(Path(settings.entropy), pictures.to_png(picture))
        say(f"{settings.entropy}: from 0 (black) to {most:.3f} nats per pixel (white)")


def _entropies(
    model: PixelModel, watched: Watched, batch_size: int
) -> tuple[np.ndarray, float]:
    """A picture of the entropies where pixels were drawn, and the highest of them."""
    images, drawn = watched.images, watched.steps >= 0
    given = {name: x for name, x in watched.given.items() if x is not None}
    parts = [
        entropy_map(model, images[part], **{name: x[part] for name, x in given.items()})
        for start in range(0, len(images), batch_size)
        for part in [slice(start, start + batch_size)]
    ]
    nats = np.where(drawn, np.concatenate(parts), 0)
    heat = pictures.to_heat(nats, nats.max())
    # Known pixels stay as they are: there was nothing to hesitate about.
    grey = images.mean(-1, keepdims=True)
    known = pictures.to_tiles(grey, model.config.levels)
    tiles = np.where(drawn[..., None], heat, known)
    return pictures.arrange(tiles, watched.rows), float(nats.max())
