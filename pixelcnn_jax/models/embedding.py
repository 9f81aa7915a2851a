"""Pixels as learned vectors, for levels that have no order, such as codes."""

import jax
import jax.numpy as jnp
from flax import nnx


class PixelEmbedding(nnx.Module):
    """A vector for each level of each channel: ``[..., C]`` to ``[..., C * E]``.

    The vectors of a channel stand together, so that masks can keep the channels' order.

    Args:
        channels, levels: of a pixel.
        features: E.
    """

    def __init__(self, channels: int, levels: int, features: int, *, rngs: nnx.Rngs):
        shape = (channels, levels, features)
        self.table = nnx.Param(jax.random.normal(rngs.params(), shape, jnp.float32))

    def __call__(self, images: jax.Array) -> jax.Array:
        """Integers in ``[0, levels)``; floats are rounded down."""
        table, levels = self.table[...], images.astype(jnp.int32)
        vectors = [table[c][levels[..., c]] for c in range(len(table))]
        return jnp.concatenate(vectors, -1)
