"""What PixelCNN++ and PixelSNAIL share: their input and the first layers of a stream.

No convolution has a mask there. The first ones' outputs are moved, down or right, so
that they see only what is earlier; the others then see no further than their input.
"""

import jax
import jax.numpy as jnp

from pixelcnn_jax.layers import NormedConv
from pixelcnn_jax.layers.resnets import MakeNormed
from pixelcnn_jax.masks import block
from pixelcnn_jax.models.embedding import PixelEmbedding

SO_FAR = block(2, 2)
"""Taps of a stream that sees the row so far: its own and above, its own and left."""


def signed_with_ones(
    images: jax.Array, levels: int, embedding: PixelEmbedding | None
) -> jax.Array:
    """Levels ``[..., C]`` from -1 to 1, or as vectors; and a one that tells pixels from
    none."""
    if embedding is None:
        x = images.astype(jnp.float32) * (2 / (levels - 1)) - 1
    else:
        x = embedding(images)
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], -1)


def first_layers_so_far(
    in_features: int, filters: int, conv: MakeNormed
) -> tuple[NormedConv, NormedConv]:
    """The layers whose sum sees the row above and the row so far."""
    one_row = tuple((-1, column) for column in (-1, 0, 1))
    above = conv(in_features, filters, one_row, "A", shift=(1, 0))
    left = conv(in_features, filters, ((-1, -1), (0, -1)), "A", shift=(0, 1))
    return above, left
