"""The Gated PixelCNN: two stacks, no blind spot."""

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from pixelcnn_jax import masks
from pixelcnn_jax.config import GatedPixelCNNConfig
from pixelcnn_jax.layers import (
    Cache,
    CausalConv,
    ClassBias,
    Front,
    GatedLayer,
    Pass,
    RowPass,
    StepPass,
    image_pass,
)
from pixelcnn_jax.models.base import Conditions, PixelModel


class GatedCaches(NamedTuple):
    """Caches of a `GatedPixelCNN`."""

    conditions: Conditions
    vertical: tuple[Cache, ...]
    """A `RowRing` for each layer of the vertical stack that is not 1x1."""
    horizontal: tuple[Cache, ...]
    """A `ColumnRing` for each layer of the horizontal stack that is not 1x1."""
    from_above: tuple[jax.Array, ...]
    """What flows from each layer of the vertical stack to the current row's positions,
    ``[W, B, 2 * features]``."""


class GatedPixelCNN(PixelModel):
    """The Gated PixelCNN of van den Oord et al. 2016 (arXiv:1606.05328), section 2.

    A vertical stack sees the rows above, a horizontal stack the row so far and what the
    vertical one found; together they see all of the context once deep enough. The
    first layer's kernels are of type A. The outputs come from the sum of all layers'
    skip connections: ReLU, 1x1, ReLU, 1x1. The vertical stack's kernels have
    ``K // 2 + 1`` rows that end with a feature's own, whose features know only rows
    above: nothing is shifted twice.

    Cached sampling runs the vertical stack once a row and the horizontal one once a
    pixel.
    """

    has_row_pass: ClassVar[bool] = True

    config: GatedPixelCNNConfig

    def __init__(self, config: GatedPixelCNNConfig, *, rngs: nnx.Rngs):
        super().__init__(config)
        options = self._options(rngs)
        features, head = config.features, config.head_features

        def layer(index: int) -> GatedLayer:
            return GatedLayer(
                features if index else config.channels,
                features,
                head,
                config.kernel_size if index else config.first_kernel_size,
                "B" if index else "A",
                dropout=config.dropout,
                last=index == config.num_layers,
                **options,
            )

        self.layers = nnx.List([layer(index) for index in range(config.num_layers + 1)])
        self.head = CausalConv(head, head, 1, "B", **options)
        outputs = self.distribution.num_outputs
        self.last = CausalConv(head, outputs, 1, "B", **options)
        if config.num_classes:
            # One vector for the vertical gate of each layer, one for the horizontal.
            count = 2 * len(self.layers)
            self.biases = nnx.List(
                [ClassBias(config.num_classes, 2 * features) for _ in range(count)]
            )

    def encode(self, images: jax.Array) -> jax.Array:
        """Levels ``[..., C]`` from -1 to 1, so that black differs from no pixel."""
        return images.astype(jnp.float32) * (2 / (self.config.levels - 1)) - 1

    def network(
        self, x: jax.Array, conditions: Conditions = (), apply: Pass = image_pass
    ) -> jax.Array:
        """The network's body: encoded pixels ``[..., C]`` to outputs."""
        from_above = self._vertical(x, conditions, apply)
        return self._horizontal(x, from_above, conditions, apply)

    def _vertical(
        self, v: jax.Array | None, conditions: Conditions, apply: Pass
    ) -> list[jax.Array]:
        from_above = []
        for layer, condition in zip(
            self.layers, self._gates(conditions, 0), strict=True
        ):
            v, link = layer.vertical(v, condition, apply)
            from_above.append(link)
        return from_above

    def _horizontal(
        self,
        h: jax.Array | None,
        from_above: list[jax.Array],
        conditions: Conditions,
        apply: Pass,
    ) -> jax.Array:
        skips: Any = 0
        for layer, link, condition in zip(
            self.layers, from_above, self._gates(conditions, 1), strict=True
        ):
            h, skip = layer.horizontal(h, link, condition, apply)
            skips = skips + skip
        y = nnx.relu(apply(self.head, nnx.relu(skips)))
        return self.distribution.outputs(apply(self.last, y))

    def _gates(self, conditions: Conditions, stack: int) -> Conditions:
        """The conditions of the gates of stack 0, vertical, or 1, horizontal."""
        return conditions[stack::2] or [None] * len(self.layers)

    def class_biases(self) -> list[ClassBias]:
        return list(self.biases)

    def init_caches(
        self,
        batch_size: int,
        width: int,
        labels: jax.Array | None = None,
        front: int = 1,
    ) -> GatedCaches:
        def empty(layers: list[CausalConv]) -> tuple[Cache, ...]:
            spread = [layer for layer in layers if not layer.is_pointwise]
            return tuple(x.init_cache(batch_size, width, front) for x in spread)

        shape = (width, batch_size, 2 * self.config.features)
        link = jnp.zeros(shape, jnp.dtype(self.config.dtype))
        return GatedCaches(
            self.conditions(labels),
            empty([layer.down for layer in self.layers]),
            empty([layer.right for layer in self.layers]),
            (link,) * len(self.layers),
        )

    def start_row(self, caches: GatedCaches, row: jax.Array) -> GatedCaches:
        apply = RowPass(caches.vertical, row)
        from_above = self._vertical(None, caches.conditions, apply)
        return caches._replace(
            vertical=tuple(apply.caches),
            horizontal=jax.tree.map(jnp.zeros_like, caches.horizontal),
            from_above=tuple(from_above),
        )

    def step(self, caches: GatedCaches, front: Front) -> tuple[jax.Array, GatedCaches]:
        apply = StepPass(caches.horizontal, front)
        column = front.columns_F[0]
        links = [lax.dynamic_slice_in_dim(x, column, 1) for x in caches.from_above]
        outputs = self._horizontal(None, links, caches.conditions, apply)
        return outputs, caches._replace(horizontal=tuple(apply.caches))

    def observe(
        self, caches: GatedCaches, pixels_FBC: jax.Array, front: Front
    ) -> GatedCaches:
        x = self.encode(pixels_FBC)
        first = self.layers[0]
        return caches._replace(
            vertical=(
                first.down.ring.write(caches.vertical[0], x, front),
                *caches.vertical[1:],
            ),
            horizontal=(
                first.right.ring.write(caches.horizontal[0], x, front),
                *caches.horizontal[1:],
            ),
        )

    def receptive_field(
        self, height: int | None = None, width: int | None = None
    ) -> np.ndarray:
        c = self.config
        height, width = height or c.height, width or c.width
        h = v = masks.itself(height, width, c.ordered_channels)
        for layer in self.layers:
            size, kind = layer.down.kernel_size, layer.down.mask_type
            v = masks.see_through(v, size, kind, "vertical")
            # The link is open to every channel of the rows above.
            above = v.any(axis=2, keepdims=True)
            new = masks.see_through(h, size, kind, "horizontal") | above
            h = new | h if layer.residual else new
        return h
