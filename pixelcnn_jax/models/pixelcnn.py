"""The book's PixelCNN."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from pixelcnn_jax.config import PixelCNNConfig
from pixelcnn_jax.layers import (
    CausalConv,
    ConditionBias,
    Pass,
    ReadConditions,
    ResidualBlock,
)
from pixelcnn_jax.masks import square
from pixelcnn_jax.models.base import Above, PixelModel


class PixelCNN(PixelModel):
    """The PixelCNN of D. Foster, Generative Deep Learning, 2nd ed., chapter 5.

    A masked first layer of type A, residual blocks, two 1x1 layers and one 1x1 layer to
    the outputs; ReLU throughout. After van den Oord et al. 2016 (arXiv:1601.06759),
    section 3.3, with one width in the body and in the head. With conditions, which
    the book does not have, each layer that sees neighbours adds what it makes of them.
    """

    def __init__(self, config: PixelCNNConfig, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        features, size = config.features, config.first_kernel_size
        conv = partial(
            CausalConv,
            num_channels=self.distribution.ordered_channels,
            dtype=config.dtype,
            rngs=rngs,
        )
        block = partial(
            ResidualBlock,
            conditions=self.reader.sizes,
            dropout=config.dropout,
            conv=conv,
        )
        self.first = conv(
            config.input_features, features, square(size), "A", fan_taps=size**2
        )
        self.condition = ConditionBias(self.reader.sizes, features)
        self.blocks = nnx.List(
            [block(features, config.kernel_size) for _ in range(config.num_blocks)]
        )
        self.head = nnx.List([conv(features, features, square(1)) for _ in range(2)])
        self.last = conv(features, self.distribution.num_outputs, square(1))

    def encode(self, images: jax.Array) -> jax.Array:
        """Levels ``[..., C]`` as level / levels, as in the book, or as vectors."""
        if self.embedding is not None:
            return self.embedding(images)
        return images.astype(jnp.float32) / self.config.levels

    def network(
        self, x: jax.Array, above: Above, conditions: ReadConditions, apply: Pass
    ) -> jax.Array:
        y = nnx.relu(apply(self.condition, (apply(self.first, x), conditions)))
        for block in self.blocks:
            y = block(y, conditions, apply)
        for layer in self.head:
            y = nnx.relu(apply(layer, y))
        return apply(self.last, y)
