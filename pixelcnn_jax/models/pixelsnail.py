"""PixelSNAIL: gated residual blocks and causal attention in turns."""

from functools import partial, reduce

import jax
import jax.numpy as jnp
from flax import nnx

from pixelcnn_jax.config import PixelSNAILConfig
from pixelcnn_jax.layers import (
    Attention,
    ConditionSizes,
    Coordinates,
    GatedResnet,
    NormedConv,
    Pass,
    Projection,
    ReadConditions,
    Seen,
)
from pixelcnn_jax.masks import square
from pixelcnn_jax.models.base import Above, PixelModel
from pixelcnn_jax.models.shifted import (
    SO_FAR,
    first_layers_so_far,
    signed_with_ones,
)


class Block(nnx.Module):
    """Residual blocks, then attention, whose result a last block takes in."""

    def __init__(
        self, config: PixelSNAILConfig, conditions: ConditionSizes, rngs: nnx.Rngs
    ):
        c, filters, heads = config, config.filters, config.num_heads
        conv = partial(NormedConv, dtype=c.dtype, rngs=rngs)
        resnet = partial(
            GatedResnet,
            conditions=conditions,
            dropout=c.dropout,
            conv=conv,
            doubled=False,
        )
        self.resnets = nnx.List(
            [resnet(filters, 0, SO_FAR) for _ in range(c.num_resnets)]
        )
        # Row and column once per channel, as in the authors' code.
        context = filters + 2 * c.channels
        self.query = Projection(
            context, heads * c.key_features, dropout=c.dropout, conv=conv
        )
        self.attention = Attention(
            c.input_features,
            context,
            c.key_features,
            filters // 2 // heads,
            num_heads=heads,
            dropout=c.dropout,
            conv=conv,
            dtype=c.dtype,
        )
        self.out = resnet(filters, filters // 2, square(1))
        self.skip = conv(filters, filters, square(1)) if c.skips else None

    def __call__(
        self,
        h: jax.Array,
        pixel: jax.Array,
        background: jax.Array,
        conditions: ReadConditions,
        apply: Pass,
    ) -> jax.Array:
        """Same shape out as in, under any pass."""
        for resnet in self.resnets:
            h = resnet(h, None, conditions, apply)
        context = jnp.concatenate([h, background], apply.features)
        seen = Seen(
            self.query(context, apply),
            context,
            self.attention.remember(pixel, context, apply),
        )
        return self.out(h, apply(self.attention, seen), conditions, apply)


class PixelSNAIL(PixelModel):
    """PixelSNAIL of Chen et al. 2018 (arXiv:1712.09763), after the authors' code.

    One stream sees the row so far and the rows above, by shifted convolutions. Between
    its blocks each position reads from all earlier ones, by attention, and so sees all
    of them. Weights are normalised, and initialised from a first batch.

    There is no useful wavefront: attention reads whole rows.
    """

    def __init__(self, config: PixelSNAILConfig, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        conv = partial(NormedConv, dtype=config.dtype, rngs=rngs)
        # One more for the channel of ones that `encode` adds.
        self.first_above, self.first_left = first_layers_so_far(
            config.input_features + 1, config.filters, conv
        )
        self.coordinates = Coordinates()
        self.blocks = nnx.List(
            [Block(config, self.reader.sizes, rngs) for _ in range(config.num_blocks)]
        )
        self.last = conv(config.filters, self.distribution.num_outputs, square(1))

    def encode(self, images: jax.Array) -> jax.Array:
        return signed_with_ones(images, self.config.levels, self.embedding)

    def image_pass_bytes(self, count: int, height: int, width: int) -> int:
        own = self.blocks[0].attention.image_pass_bytes(count, height, width)
        return super().image_pass_bytes(count, height, width) + own

    def network(
        self, x: jax.Array, above: Above, conditions: ReadConditions, apply: Pass
    ) -> jax.Array:
        pixel, _ = jnp.split(x, [self.config.input_features], apply.features)
        where = apply(self.coordinates, x)
        background = jnp.concatenate([where] * self.config.channels, apply.features)
        h = apply(self.first_above, x) + apply(self.first_left, x)
        skipped = []
        for block in self.blocks:
            h = block(h, pixel, background, conditions, apply)
            if block.skip is not None:
                skipped.append(apply(block.skip, jax.nn.elu(h)))
        if skipped:
            h = reduce(jnp.add, skipped)
        return apply(self.last, jax.nn.elu(h))
