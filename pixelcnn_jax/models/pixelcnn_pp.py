"""PixelCNN++: two streams through several resolutions."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from pixelcnn_jax import masks
from pixelcnn_jax.config import PixelCNNPPConfig
from pixelcnn_jax.layers import (
    ConditionSizes,
    GatedResnet,
    Grow,
    NormedConv,
    Pass,
    ReadConditions,
    Shrink,
)
from pixelcnn_jax.masks import square
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.models.shifted import (
    SO_FAR,
    first_layers_so_far,
    signed_with_ones,
)

ROWS_ABOVE = masks.above(3)
"""Taps of the vertical stream: its own row and the row above, whose features know only
rows above themselves."""


class FoundAbove(NamedTuple):
    """What the vertical stream found at one resolution, for the horizontal one."""

    encoded: tuple[jax.Array, ...]
    decoded: tuple[jax.Array, ...]


class Resolution(nnx.Module):
    """The blocks of both streams at one resolution, and the way to the next one.

    On the way down ``num_resnets`` pairs of blocks, on the way up as many and, if there
    is a coarser resolution, one more: each reads what a pair left on the way down.
    """

    def __init__(
        self,
        config: PixelCNNPPConfig,
        level: int,
        conditions: ConditionSizes,
        rngs: nnx.Rngs,
    ):
        filters, scale = config.filters, 2**level
        conv = partial(NormedConv, scale=scale, dtype=config.dtype, rngs=rngs)
        resnet = partial(
            GatedResnet,
            conditions=conditions,
            dropout=config.dropout,
            conv=conv,
            scale=scale,
        )
        is_coarsest = level + 1 == config.resolutions
        down = range(config.num_resnets)
        up = range(config.num_resnets + (not is_coarsest))
        self.encode_v = nnx.List([resnet(filters, 0, ROWS_ABOVE) for _ in down])
        self.encode_h = nnx.List([resnet(filters, filters, SO_FAR) for _ in down])
        self.decode_v = nnx.List([resnet(filters, filters, ROWS_ABOVE) for _ in up])
        self.decode_h = nnx.List([resnet(filters, 2 * filters, SO_FAR) for _ in up])
        self.is_coarsest = is_coarsest
        if not is_coarsest:
            shrink = partial(
                Shrink, filters, filters, scale=scale, dtype=config.dtype, rngs=rngs
            )
            # A layer's scale is that of its input: here the coarser grid.
            grow = partial(
                Grow, filters, filters, scale=2 * scale, dtype=config.dtype, rngs=rngs
            )
            self.shrink_v, self.shrink_h = shrink(ROWS_ABOVE), shrink(SO_FAR)
            # The vertical stream knows only rows above, so it may look to the right.
            self.grow_v, self.grow_h = grow(Grow.taps_of(3)), grow(Grow.taps_of(2))


class PixelCNNPP(PixelModel):
    """PixelCNN++ of Salimans et al. 2017 (arXiv:1701.05517), after the authors' code.

    A vertical stream sees the rows above, a horizontal one the row so far and what the
    vertical one found. Both go through several resolutions and back, with short-cuts
    between layers of the same one. Convolutions need no masks: they are shifted.
    Weights are normalised, and initialised from a first batch.

    Sizes need not be multiples of a power of two, unlike there: they are rounded up on
    the way down and cropped on the way up. A few earlier pixels are never seen, those
    near the start of a coarse cell's first row.
    """

    def __init__(self, config: PixelCNNPPConfig, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
        conv = partial(NormedConv, dtype=config.dtype, rngs=rngs)
        # One more for the channel of ones that `encode` adds.
        inputs, filters = config.input_features + 1, config.filters
        # A small convolution whose output has been moved down.
        two_rows = tuple((r, c) for r in (-2, -1) for c in (-1, 0, 1))
        self.first_v = conv(inputs, filters, two_rows, "A", shift=(1, 0))
        self.first_above, self.first_left = first_layers_so_far(inputs, filters, conv)
        self.resolutions = nnx.List(
            [
                Resolution(config, level, self.reader.sizes, rngs)
                for level in range(config.resolutions)
            ]
        )
        self.last = conv(filters, self.distribution.num_outputs, square(1))

    def encode(self, images: jax.Array) -> jax.Array:
        return signed_with_ones(images, self.config.levels, self.embedding)

    def vertical(
        self, x: jax.Array, conditions: ReadConditions, apply: Pass
    ) -> tuple[FoundAbove, ...]:
        """What the vertical stream found at each resolution."""
        _, found = self._down_and_up_v(0, conditions, apply(self.first_v, x), apply)
        return found

    def _down_and_up_v(
        self, level: int, conditions: ReadConditions, v: jax.Array, apply: Pass
    ) -> tuple[jax.Array, tuple[FoundAbove, ...]]:
        resolution = self.resolutions[level]
        # A stack of short-cuts: the way up takes them in reverse. The first is no
        # block's output, so the horizontal stream does not read it.
        shortcuts = [v]
        for resnet in resolution.encode_v:
            v = resnet(v, None, conditions, apply)
            shortcuts.append(v)
        encoded = tuple(shortcuts[1:])
        coarser: tuple[FoundAbove, ...] = ()
        if resolution.is_coarsest:
            # The last one is `v` itself, which needs no short-cut.
            shortcuts.pop()
        else:
            body = partial(self._down_and_up_v, level + 1, conditions)
            v, coarser = apply.coarser(resolution.shrink_v, resolution.grow_v, body, v)
        decoded = []
        for resnet in resolution.decode_v:
            v = resnet(v, shortcuts.pop(), conditions, apply)
            decoded.append(v)
        return v, (FoundAbove(encoded, tuple(decoded)), *coarser)

    def network(
        self,
        x: jax.Array,
        above: tuple[FoundAbove, ...],
        conditions: ReadConditions,
        apply: Pass,
    ) -> jax.Array:
        h = apply(self.first_above, x) + apply(self.first_left, x)
        h, _ = self._down_and_up_h(0, above, conditions, h, apply)
        return apply(self.last, jax.nn.elu(h))

    def _down_and_up_h(
        self,
        level: int,
        above: tuple[FoundAbove, ...],
        conditions: ReadConditions,
        h: jax.Array,
        apply: Pass,
    ) -> tuple[jax.Array, tuple[()]]:
        resolution, found = self.resolutions[level], above[level]
        shortcuts = [h]
        for resnet, v in zip(resolution.encode_h, found.encoded, strict=True):
            h = resnet(h, apply.here(v), conditions, apply)
            shortcuts.append(h)
        if resolution.is_coarsest:
            shortcuts.pop()
        else:
            body = partial(self._down_and_up_h, level + 1, above, conditions)
            h, _ = apply.coarser(resolution.shrink_h, resolution.grow_h, body, h)
        for resnet, v in zip(resolution.decode_h, found.decoded, strict=True):
            other = jnp.concatenate([apply.here(v), shortcuts.pop()], apply.features)
            h = resnet(h, other, conditions, apply)
        return h, ()
