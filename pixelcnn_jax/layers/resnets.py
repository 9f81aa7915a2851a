"""The gated residual block of PixelCNN++ and PixelSNAIL."""

from typing import Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from pixelcnn_jax.layers.base import NOTHING_READ, ReadConditions
from pixelcnn_jax.layers.conditions import ConditionBias, ConditionSizes
from pixelcnn_jax.layers.normed import NormedConv
from pixelcnn_jax.layers.passes import Pass
from pixelcnn_jax.masks import MaskType, Tap, Taps, square

GATE_DEVIATION = 0.1
"""First deviation of what a block adds, so that blocks start out near the identity."""


class MakeNormed(Protocol):
    """`NormedConv` with what all layers of a network share filled in."""

    def __call__(
        self,
        in_features: int,
        out_features: int,
        taps: Taps,
        mask_type: MaskType = "B",
        *,
        shift: Tap = (0, 0),
        first_deviation: float = 1.0,
    ) -> NormedConv: ...


def concat_elu(x: jax.Array, features: int) -> jax.Array:
    """ELU of the features and of their negatives: twice as many, on the same axis."""
    return jax.nn.elu(jnp.concatenate([x, -x], features))


class GatedResnet(nnx.Module):
    """``x + a * sigmoid(b)``, with a and b from two convolutions of an ELU.

    Source: Salimans et al. 2017, PixelCNN++ (arXiv:1701.05517), section 2.5 and the
    authors' code. The first convolution's output also takes a 1x1 layer of other
    features, such as a short-cut's; the second's takes the conditions.

    Args:
        features: of x.
        other_features: of what else the block reads; 0: nothing.
        taps: of both convolutions.
        conditions: sizes of those that the block takes; None: it takes none.
        scale: of the grid that the block works on.
        doubled: whether the ELU is ``concat_elu``, as in PixelCNN++; PixelSNAIL has a
            plain one.
    """

    def __init__(
        self,
        features: int,
        other_features: int,
        taps: Taps,
        *,
        conditions: ConditionSizes | None,
        dropout: float,
        conv: MakeNormed,
        doubled: bool = True,
        scale: int = 1,
    ):
        self.dropout = dropout
        self.doubled = doubled
        # `concat_elu` has twice the features of what goes in.
        times = 2 if doubled else 1
        self.first = conv(times * features, features, taps)
        self.other = (
            conv(times * other_features, features, square(1))
            if other_features
            else None
        )
        self.second = conv(
            times * features, 2 * features, taps, first_deviation=GATE_DEVIATION
        )
        self.condition = (
            None
            if conditions is None
            else ConditionBias(conditions, 2 * features, scale=scale)
        )

    def __call__(
        self,
        x: jax.Array,
        other: jax.Array | None,
        conditions: ReadConditions,
        apply: Pass,
    ) -> jax.Array:
        """Same shape out as in, under any pass.

        Raises:
            ValueError: other features are missing, or not expected.
        """
        y = apply(self.first, self._elu(x, apply.features))
        if self.other is not None and other is not None:
            y = y + apply(self.other, self._elu(other, apply.features))
        elif self.other is not None or other is not None:
            raise ValueError(
                "a GatedResnet reads other features if it was built with"
                " other_features, and only then"
            )
        y = apply.dropout(self._elu(y, apply.features), self.dropout)
        y = apply(self.second, y)
        if self.condition is not None:
            y = apply(self.condition, (y, conditions))
        values, gates = jnp.split(y, 2, axis=apply.features)
        return x + values * nnx.sigmoid(gates)

    def _elu(self, x: jax.Array, features: int) -> jax.Array:
        return concat_elu(x, features) if self.doubled else jax.nn.elu(x)


class Projection(nnx.Module):
    """A gated residual block that sees one position, and a 1x1 layer: what queries,
    keys and values come from. No condition: the features read know it already."""

    def __init__(
        self, in_features: int, out_features: int, *, dropout: float, conv: MakeNormed
    ):
        self.block = GatedResnet(
            in_features,
            0,
            square(1),
            conditions=None,
            dropout=dropout,
            conv=conv,
            doubled=False,
        )
        self.out = conv(in_features, out_features, square(1))

    def __call__(self, x: jax.Array, apply: Pass) -> jax.Array:
        return apply(self.out, self.block(x, None, NOTHING_READ, apply))
