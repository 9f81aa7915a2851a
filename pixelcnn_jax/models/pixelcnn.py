"""The book's PixelCNN."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pixelcnn_jax import masks
from pixelcnn_jax.config import PixelCNNConfig
from pixelcnn_jax.layers import (
    Cache,
    CausalConv,
    ClassBias,
    Front,
    Pass,
    ResidualBlock,
    StepPass,
    image_pass,
)
from pixelcnn_jax.layers.blocks import add_condition
from pixelcnn_jax.models.base import Conditions, PixelModel


class PixelCNNCaches(NamedTuple):
    """Caches of a `PixelCNN`."""

    conditions: Conditions
    layers: tuple[Cache, ...]
    """A `RowRing` for each layer that is not 1x1, in the order of use."""


class PixelCNN(PixelModel):
    """The PixelCNN of D. Foster, Generative Deep Learning, 2nd ed., chapter 5.

    A masked first layer of type A, residual blocks, two 1x1 layers and one 1x1 layer to
    the outputs; ReLU throughout. After van den Oord et al. 2016 (arXiv:1601.06759),
    section 3.3, with one width in the body and in the head. With classes, which the
    book does not have, each layer that sees neighbours adds a vector for the class.
    """

    config: PixelCNNConfig

    def __init__(self, config: PixelCNNConfig, *, rngs: nnx.Rngs):
        super().__init__(config)
        options = self._options(rngs)
        features, blocks = config.features, range(config.num_blocks)
        self.first = CausalConv(
            config.channels, features, config.first_kernel_size, "A", **options
        )
        self.blocks = nnx.List(
            [
                ResidualBlock(features, config.kernel_size, config.dropout, **options)
                for _ in blocks
            ]
        )
        self.head = nnx.List(
            [CausalConv(features, features, 1, "B", **options) for _ in range(2)]
        )
        outputs = self.distribution.num_outputs
        self.last = CausalConv(features, outputs, 1, "B", **options)
        if config.num_classes:
            widths = [features, *(features // 2 for _ in blocks)]
            self.biases = nnx.List([ClassBias(config.num_classes, w) for w in widths])

    def encode(self, images: jax.Array) -> jax.Array:
        """Levels ``[..., C]`` as level / levels, as in the book."""
        return images.astype(jnp.float32) / self.config.levels

    def network(
        self,
        x: jax.Array | None,
        conditions: Conditions = (),
        apply: Pass = image_pass,
    ) -> jax.Array:
        """The network's body: encoded pixels ``[..., C]`` to outputs."""
        first, *rest = conditions or [None] * (1 + len(self.blocks))
        y = nnx.relu(add_condition(apply(self.first, x), first, apply))
        for block, condition in zip(self.blocks, rest, strict=True):
            y = block(y, condition, apply)
        for layer in self.head:
            y = nnx.relu(apply(layer, y))
        return self.distribution.outputs(apply(self.last, y))

    def class_biases(self) -> list[ClassBias]:
        return list(self.biases)

    def init_caches(
        self,
        batch_size: int,
        width: int,
        labels: jax.Array | None = None,
        front: int = 1,
    ) -> PixelCNNCaches:
        layers = [self.first, *(block.spread for block in self.blocks)]
        caches = [
            layer.init_cache(batch_size, width, front)
            for layer in layers
            if not layer.is_pointwise
        ]
        return PixelCNNCaches(self.conditions(labels), tuple(caches))

    def step(
        self, caches: PixelCNNCaches, front: Front
    ) -> tuple[jax.Array, PixelCNNCaches]:
        apply = StepPass(caches.layers, front)
        outputs = self.network(None, caches.conditions, apply)
        return outputs, caches._replace(layers=tuple(apply.caches))

    def observe(
        self, caches: PixelCNNCaches, pixels_FBC: jax.Array, front: Front
    ) -> PixelCNNCaches:
        first, *rest = caches.layers
        first = self.first.ring.write(first, self.encode(pixels_FBC), front)
        return caches._replace(layers=(first, *rest))

    @property
    def wavefront_lag(self) -> int:
        return masks.wavefront_lag(self._geometry(), self.config.ordered_channels)

    def receptive_field(
        self, height: int | None = None, width: int | None = None
    ) -> np.ndarray:
        return masks.receptive_field(
            self._geometry(),
            height or self.config.height,
            width or self.config.width,
            self.config.ordered_channels,
        )

    def _geometry(self) -> list[tuple[int, masks.MaskType]]:
        spread = [block.spread for block in self.blocks]
        return [(x.kernel_size, x.mask_type) for x in (self.first, *spread)]
