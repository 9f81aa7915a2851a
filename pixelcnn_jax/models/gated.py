"""The Gated PixelCNN: two stacks, no blind spot."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from pixelcnn_jax.config import GatedPixelCNNConfig
from pixelcnn_jax.layers import CausalConv, GatedLayer, Pass, ReadConditions
from pixelcnn_jax.masks import square
from pixelcnn_jax.models.base import PixelModel


class GatedPixelCNN(PixelModel):
    """The Gated PixelCNN of van den Oord et al. 2016 (arXiv:1606.05328), section 2.

    A vertical stack sees the rows above, a horizontal stack the row so far and what the
    vertical one found; together they see all of the context once deep enough. The
    first layer's kernels are of type A. The outputs come from the sum of all layers'
    skip connections: ReLU, 1x1, ReLU, 1x1. The vertical stack's kernels have
    ``K // 2 + 1`` rows that end with a feature's own, whose features know only rows
    above: nothing is shifted twice.

    Cached sampling runs the vertical stack once per row and the horizontal one once per
    pixel.
    """

    def __init__(self, config: GatedPixelCNNConfig, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        features, head = config.features, config.head_features
        unordered = partial(CausalConv, dtype=config.dtype, rngs=rngs)
        conv = partial(unordered, num_channels=self.distribution.ordered_channels)

        def layer(index: int) -> GatedLayer:
            return GatedLayer(
                features if index else config.input_features,
                features,
                head,
                config.kernel_size if index else config.first_kernel_size,
                "B" if index else "A",
                last=index == config.num_layers,
                conditions=self.reader.sizes,
                dropout=config.dropout,
                conv=conv,
                unordered=unordered,
            )

        self.layers = nnx.List([layer(index) for index in range(config.num_layers + 1)])
        self.head = conv(head, head, square(1))
        self.last = conv(head, self.distribution.num_outputs, square(1))

    def encode(self, images: jax.Array) -> jax.Array:
        """Levels ``[..., C]`` from -1 to 1, so that black differs from no pixel; or as
        vectors."""
        if self.embedding is not None:
            return self.embedding(images)
        return images.astype(jnp.float32) * (2 / (self.config.levels - 1)) - 1

    def vertical(
        self, x: jax.Array, conditions: ReadConditions, apply: Pass
    ) -> tuple[jax.Array, ...]:
        """What flows from each layer of the vertical stack to the horizontal one."""
        links = []
        for layer in self.layers:
            x, link = layer.vertical(x, conditions, apply)
            links.append(link)
        return tuple(links)

    def network(
        self,
        x: jax.Array,
        above: tuple[jax.Array, ...],
        conditions: ReadConditions,
        apply: Pass,
    ) -> jax.Array:
        # A scalar, so that the first skip gives the shape, under any pass.
        skips = jnp.float32(0)
        for layer, link in zip(self.layers, above, strict=True):
            x, skip = layer.horizontal(x, link, conditions, apply)
            skips = skips + skip
        y = nnx.relu(apply(self.head, nnx.relu(skips)))
        return apply(self.last, y)
