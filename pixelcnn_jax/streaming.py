"""Any number of images, batch after batch, in bounded memory."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from pixelcnn_jax import hosts
from pixelcnn_jax.arguments import (
    Scalar,
    is_integer,
    require_count,
    require_outside_jit,
)
from pixelcnn_jax.drawing import Given, Method, Way, require_method_of
from pixelcnn_jax.errors import require
from pixelcnn_jax.jobs import Drawer, require_drawable
from pixelcnn_jax.layers import Conditions
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.models.input_checks import (
    guidance_of,
    require_conditions,
    require_model,
    size_for,
)

Array = jax.Array | np.ndarray

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
    labels: Array | None = None,
    condition: Array | None = None,
    condition_map: Array | None = None,
    guidance: Scalar = 1.0,
    method: Method = "auto",
    size: tuple[int, int] | None = None,
) -> Iterator[np.ndarray]:
    """Draw the images of `sample`, batch after batch.

    One program runs once per batch, so memory does not grow with their number, and
    between two batches the caller may do as it likes. Of several processes each draws a
    share, and all have all images; they must take the batches in step.

    Args:
        model, key, temperature, guidance, method, size: see `sample`.
        num_images: of the whole job, N.
        start: the image to begin with; those before it are not drawn.
        batch_size: the most images of a batch; of several processes, of each one's.
        labels, condition, condition_map: of each image of the whole job; see `sample`.

    Returns:
        An iterator of int32 ``[batch, H, W, C]``: images ``start`` to ``N - 1``, equal
        to ``sample(model, key, N)[start:]``.

    Raises:
        UserError: see `sample`; or ``start`` is not one of the images.
    """
    require_model(model)
    num_images = require_count("num_images", num_images)
    batch_size = require_count("batch_size", batch_size)
    require(
        is_integer(start) and 0 <= start < num_images,
        f"start must be an integer of at least 0 and below num_images, {num_images},"
        f" got {start!r}; 0 draws all",
    )
    start = int(start)
    height, width = size_for(model, size)
    conditions = Conditions(labels, condition, condition_map)
    require_conditions(model, conditions, (num_images, height, width))
    require_outside_jit("stream", key, temperature, guidance, conditions)
    strength = guidance_of(model, guidance, conditions, num_images)
    # Copied: what was checked is not to change between two batches.
    given = jax.tree.map(np.array, Given(conditions, guidance=strength))
    # Now, not once the first batch is asked for.
    require_drawable(key, method, temperature)
    require_method_of(model, method)
    way = Way(method, height, width)
    draw = partial(Drawer(model), key, way=way, temperature=temperature)
    return _batches(draw, num_images, start, batch_size, given)


def even_batch(num_images: int, batch_size: int) -> int:
    """How many images of a job each process draws at a time; see `stream`."""
    processes = jax.process_count()
    # As many batches, evened out: the least to drop from the last one.
    return -(-num_images // (-(-num_images // (batch_size * processes)) * processes))


def _batches(
    draw: partial,
    num_images: int,
    start: int,
    batch_size: int,
    given: Given,
) -> Iterator[np.ndarray]:
    processes = jax.process_count()
    batch = even_batch(num_images - start, batch_size)

    def share(first: int, begin: int, end: int) -> np.ndarray:
        # Always a whole batch, so that one program draws them all.
        part = slice(first + begin, first + end)
        own = jax.tree.map(
            lambda x: jnp.asarray(np.resize(x[part], (batch, *x.shape[1:]))), given
        )
        drawn = draw(num_images=batch, given=own, first=first + begin)
        return np.asarray(drawn.images)

    for first in range(start, num_images, batch * processes):
        images = hosts.divided(batch * processes, partial(share, first))
        yield images[: num_images - first]
