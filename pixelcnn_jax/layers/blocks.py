"""The composites: residual block, gated layer, class bias."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from pixelcnn_jax.layers.causal import CausalConv
from pixelcnn_jax.layers.passes import Pass, image_pass
from pixelcnn_jax.masks import MaskType


class ClassBias(nnx.Module):
    """A learned vector for each class, zero at first: ``labels [B]`` to ``[B, D]``."""

    def __init__(self, num_classes: int, features: int):
        self.table = nnx.Param(jnp.zeros((num_classes, features), jnp.float32))

    def __call__(self, labels_B: jax.Array) -> jax.Array:
        return self.table[...][labels_B]


def add_condition(
    y: jax.Array, condition_BD: jax.Array | None, apply: Pass
) -> jax.Array:
    """Features plus what each image's class adds to them, if anything."""
    if condition_BD is None:
        return y
    return y + apply.per_image(condition_BD).astype(y.dtype)


class ResidualBlock(nnx.Module):
    """1x1 to half the features, masked K x K, 1x1 back, each with ReLU; add the input.

    Source: van den Oord et al. 2016 (arXiv:1601.06759), figure 5, in the order of
    activations of D. Foster, Generative Deep Learning, 2nd ed., chapter 5. The class
    bias before the middle ReLU and the dropout after it are ours.

    Args:
        options: of every `CausalConv`: num_channels, dtype, rngs.
    """

    def __init__(self, features: int, kernel_size: int, dropout: float, **options: Any):
        half = features // 2
        self.dropout = dropout
        self.reduce = CausalConv(features, half, 1, "B", **options)
        self.spread = CausalConv(half, half, kernel_size, "B", **options)
        self.expand = CausalConv(half, features, 1, "B", **options)

    def __call__(
        self, x: jax.Array, condition: jax.Array | None = None, apply: Pass = image_pass
    ) -> jax.Array:
        """Same shape out as in, under any pass."""
        y = nnx.relu(apply(self.reduce, x))
        y = nnx.relu(add_condition(apply(self.spread, y), condition, apply))
        y = apply.dropout(y, self.dropout)
        return x + nnx.relu(apply(self.expand, y))


def gate(y: jax.Array) -> jax.Array:
    """The gated activation unit: tanh of one half times the sigmoid of the other."""
    values, gates = jnp.split(y, 2, axis=-1)
    return jnp.tanh(values) * nnx.sigmoid(gates)


class GatedLayer(nnx.Module):
    """One layer of both stacks of the Gated PixelCNN.

    Source: van den Oord et al. 2016 (arXiv:1606.05328), figure 2 and equation 4. The
    vertical stack sees the rows above; what it finds flows to the horizontal stack,
    which sees the row so far, and never back. Skip connections after section 2.5 of
    WaveNet (arXiv:1609.03499), as in most public implementations. Class biases enter
    both gates.

    Args:
        in_features: C.
        features: width of each stack.
        skip_features: D of the skip connection.
        mask_type: "A" for the first layer, whose input is the image; the others are
            residual.
        last: whether only the skip connection goes on from here.
        options: num_channels, dtype, rngs, as for `CausalConv`.
    """

    def __init__(
        self,
        in_features: int,
        features: int,
        skip_features: int,
        kernel_size: int,
        mask_type: MaskType,
        *,
        dropout: float,
        last: bool,
        num_channels: int,
        **options: Any,
    ):
        self.dropout = dropout
        self.residual = mask_type == "B"
        doubled = 2 * features
        self.down = CausalConv(
            in_features, doubled, kernel_size, mask_type, stack="vertical", **options
        )
        # Of rows above, every channel may see every channel: the link is open.
        self.link = CausalConv(doubled, doubled, 1, "B", **options)
        ordered = {"num_channels": num_channels, **options}
        self.right = CausalConv(
            in_features,
            doubled,
            kernel_size,
            mask_type,
            stack="horizontal",
            parts=2,
            **ordered,
        )
        self.out = None if last else CausalConv(features, features, 1, "B", **ordered)
        self.skip = CausalConv(features, skip_features, 1, "B", **ordered)

    def vertical(
        self, v: jax.Array | None, condition: jax.Array | None, apply: Pass
    ) -> tuple[jax.Array, jax.Array]:
        """The vertical stack's new features, and what flows to the horizontal one."""
        y = add_condition(apply(self.down, v), condition, apply)
        return gate(y), apply(self.link, y)

    def horizontal(
        self,
        h: jax.Array | None,
        from_above: jax.Array,
        condition: jax.Array | None,
        apply: Pass,
    ) -> tuple[jax.Array | None, jax.Array]:
        """The horizontal stack's new features, and the skip connection."""
        y = apply(self.right, h) + from_above
        y = apply.dropout(gate(add_condition(y, condition, apply)), self.dropout)
        new = None if self.out is None else apply(self.out, y)
        if new is not None and h is not None and self.residual:
            new = new + h
        return new, apply(self.skip, y)
