"""Where a model hesitates: the entropy of each pixel's law given all before it."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from pixelcnn_jax.layers import Conditions
from pixelcnn_jax.likelihood import of_images
from pixelcnn_jax.models.base import PixelModel

Array = jax.Array | np.ndarray


def entropy_map(
    model: PixelModel,
    images: Array,
    labels: Array | None = None,
    *,
    condition: Array | None = None,
    condition_map: Array | None = None,
) -> jax.Array:
    """How uncertain each pixel was before it was drawn, given all earlier ones.

    The entropy of a pixel's conditional distribution at temperature 1. Of several
    channels it is the sum over the channels' own, each given the pixel's earlier ones.
    The expectation of `pixel_log_prob` over draws of the pixel is its negative.

    Args:
        model: a model of this package, such as `PixelCNN`.
        images: integers ``[B, H, W, C]`` in ``[0, levels)``, of any size.
        labels, condition, condition_map: of each image; see `log_prob`.

    Returns:
        float32 ``[B, H, W]``, nats from 0 to ``C * log(levels)``.

    Raises:
        UserError: as for `log_prob`.
    """
    given = Conditions(labels, condition, condition_map)
    return of_images(_entropy_map, model, images, given)


def _entropy_map(model: PixelModel, images: jax.Array, given: Conditions) -> jax.Array:
    def of_row(row: tuple[jax.Array, jax.Array]) -> jax.Array:
        outputs, pixels_BWC = row
        entropies = jnp.zeros(pixels_BWC.shape[:2], jnp.float32)
        # A Python loop, since distributions slice channels by a static number.
        for channel in range(pixels_BWC.shape[-1]):
            law = model.distribution.conditional(outputs, pixels_BWC, channel)
            # A level of probability 0 adds nothing, though its logarithm is infinite.
            entropies -= jnp.where(law > -jnp.inf, jnp.exp(law) * law, 0).sum(-1)
        return entropies

    # Row by row: a mixture computes each level's law under each of its components,
    # which of whole images would be hundreds of times its outputs.
    rows = jax.tree.map(
        lambda x: jnp.moveaxis(x, 1, 0), (model.given(images, given), images)
    )
    return jnp.moveaxis(lax.map(of_row, rows), 0, 1)
