"""The composites: residual block and gated layer."""

from typing import Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from pixelcnn_jax.layers.base import ReadConditions
from pixelcnn_jax.layers.conditions import ConditionBias, ConditionSizes
from pixelcnn_jax.layers.convolution import CausalConv
from pixelcnn_jax.layers.passes import Pass
from pixelcnn_jax.masks import MaskType, Taps, above, left, square


class MakeConv(Protocol):
    """`CausalConv` with what all layers of a network share filled in."""

    def __call__(
        self,
        in_features: int,
        out_features: int,
        taps: Taps,
        mask_type: MaskType = "B",
        *,
        parts: int = 1,
        fan_taps: int | None = None,
    ) -> CausalConv: ...


class ResidualBlock(nnx.Module):
    """1x1 to half the features, masked K x K, 1x1 back, each with ReLU; add the input.

    Source: van den Oord et al. 2016 (arXiv:1601.06759), figure 5, in the order of
    activations of D. Foster, Generative Deep Learning, 2nd ed., chapter 5. The bias
    for the conditions before the middle ReLU and the dropout after it are ours.
    """

    def __init__(
        self,
        features: int,
        kernel_size: int,
        *,
        conditions: ConditionSizes,
        dropout: float,
        conv: MakeConv,
    ):
        half, taps = features // 2, square(kernel_size)
        self.dropout = dropout
        self.reduce = conv(features, half, square(1))
        self.middle = conv(half, half, taps, fan_taps=kernel_size**2)
        self.condition = ConditionBias(conditions, half)
        self.expand = conv(half, features, square(1))

    def __call__(
        self, x: jax.Array, conditions: ReadConditions, apply: Pass
    ) -> jax.Array:
        """Same shape out as in, under any pass."""
        y = nnx.relu(apply(self.reduce, x))
        y = nnx.relu(apply(self.condition, (apply(self.middle, y), conditions)))
        y = apply.dropout(y, self.dropout)
        return x + nnx.relu(apply(self.expand, y))


def gate(y: jax.Array, features: int) -> jax.Array:
    """The gated activation unit: tanh of one half times the sigmoid of the other.

    Args:
        features: the axis to split.
    """
    values, gates = jnp.split(y, 2, axis=features)
    return jnp.tanh(values) * nnx.sigmoid(gates)


class GatedLayer(nnx.Module):
    """One layer of both stacks of the Gated PixelCNN.

    Source: van den Oord et al. 2016 (arXiv:1606.05328), figure 2 and equation 4. The
    vertical stack sees the rows above; what it finds flows to the horizontal stack,
    which sees the row so far, and never back. Skip connections after section 2.5 of
    WaveNet (arXiv:1609.03499), as in most public implementations. Conditions
    enter both gates.

    Args:
        in_features: C.
        features: width of each stack.
        skip_features: D of the skip connection.
        mask_type: "A" for the first layer, whose input is the image; the others are
            residual.
        last: whether only the skip connection goes on from here.
        conv: makes the layers of the horizontal stack, which keep the channels' order.
        unordered: makes those of the vertical stack: of rows above, every channel may
            see every channel.
    """

    def __init__(
        self,
        in_features: int,
        features: int,
        skip_features: int,
        kernel_size: int,
        mask_type: MaskType,
        *,
        last: bool,
        conditions: ConditionSizes,
        dropout: float,
        conv: MakeConv,
        unordered: MakeConv,
    ):
        self.dropout = dropout
        self.is_residual = mask_type == "B"
        doubled = 2 * features
        taps = above(kernel_size, mask_type)
        self.down = unordered(in_features, doubled, taps, mask_type)
        self.vertical_condition = ConditionBias(conditions, doubled)
        self.link = unordered(doubled, doubled, square(1))
        # Values and gates are split later, so each half has groups of all channels.
        self.right = conv(in_features, doubled, left(kernel_size), mask_type, parts=2)
        self.horizontal_condition = ConditionBias(conditions, doubled)
        self.out = None if last else conv(features, features, square(1))
        self.skip = conv(features, skip_features, square(1))

    def vertical(
        self, v: jax.Array, conditions: ReadConditions, apply: Pass
    ) -> tuple[jax.Array, jax.Array]:
        """The vertical stack's new features, and what flows to the horizontal one."""
        y = apply(self.vertical_condition, (apply(self.down, v), conditions))
        # The link reads what the gate has not squashed yet, as in figure 2.
        return gate(y, apply.features), apply(self.link, y)

    def horizontal(
        self, h: jax.Array, above: jax.Array, conditions: ReadConditions, apply: Pass
    ) -> tuple[jax.Array, jax.Array]:
        """The horizontal stack's new features, and the skip connection."""
        y = apply(self.right, h) + apply.here(above)
        y = apply(self.horizontal_condition, (y, conditions))
        y = apply.dropout(gate(y, apply.features), self.dropout)
        if self.out is not None:
            new = apply(self.out, y)
            # The first layer's input is the image, which has other features to add to.
            h = new + h if self.is_residual else new
        return h, apply(self.skip, y)
