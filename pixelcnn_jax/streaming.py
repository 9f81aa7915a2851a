"""Any number of images, batch after batch, in bounded memory."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from pixelcnn_jax.arguments import Scalar, require_count, require_size
from pixelcnn_jax.drawing import Given, Method, Way
from pixelcnn_jax.errors import require
from pixelcnn_jax.jobs import Drawer
from pixelcnn_jax.models.base import PixelModel

BATCH = 256
"""Images drawn at a time, unless the caller says otherwise."""


def stream(
    model: PixelModel,
    key: jax.Array,
    num_images: int,
    *,
    start: int = 0,
    batch_size: int = BATCH,
    temperature: Scalar = 1.0,
    labels: jax.Array | np.ndarray | None = None,
    method: Method = "auto",
    size: tuple[int, int] | None = None,
) -> Iterator[np.ndarray]:
    """Draw the images of `sample`, batch after batch.

    One program runs once per batch, so memory does not grow with their number, and
    between two batches the caller may do as it likes.

    Args:
        model, key, temperature, method, size: see `sample`.
        num_images: of the whole job, N.
        start: the image to begin with; those before it are not drawn.
        batch_size: the most images of a batch.
        labels: int ``[N]``, the class of each image of the whole job; for a model with
            classes.

    Returns:
        An iterator of int32 ``[batch, H, W, C]``: images ``start`` to ``N - 1``, equal
        to ``sample(model, key, N)[start:]``.

    Raises:
        UserError: see `sample`; or ``start`` is not one of the images.
    """
    require_count("num_images", num_images)
    require_count("batch_size", batch_size)
    require(
        0 <= start < num_images,
        f"start must be at least 0 and below num_images, {num_images}, got {start}",
    )
    height, width = size or (model.config.height, model.config.width)
    require_size((height, width))
    checked = model.check_labels(labels, num_images)
    classes = None if checked is None else np.asarray(checked)
    draw = partial(
        Drawer(model), key, way=Way(method, height, width), temperature=temperature
    )
    return _batches(draw, num_images, start, batch_size, classes)


def _batches(
    draw: partial,
    num_images: int,
    start: int,
    batch_size: int,
    labels: np.ndarray | None,
) -> Iterator[np.ndarray]:
    rest = num_images - start
    # As many batches, evened out: the least to drop from the last one.
    batch = -(-rest // -(-rest // batch_size))
    for first in range(start, num_images, batch):
        # Always whole batches, so that one program draws them all.
        given = Given()
        if labels is not None:
            part = np.resize(labels[first : first + batch], batch)
            given = Given(jnp.asarray(part))
        drawn = draw(num_images=batch, given=given, first=first)
        yield np.asarray(drawn.images)[: num_images - first]
