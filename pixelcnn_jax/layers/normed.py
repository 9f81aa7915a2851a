"""Convolutions with weight normalisation, as PixelCNN++ has throughout.

Source: Salimans and Kingma 2016, "Weight Normalization",
https://arxiv.org/abs/1602.07868; in PixelCNN++ per output channel, with the scales and
biases initialised from one batch of data.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from pixelcnn_jax.layers.base import At, Row
from pixelcnn_jax.layers.convolution import CausalConv
from pixelcnn_jax.masks import MaskType, Tap, Taps

DIRECTION_SCALE = 0.05
"""Standard deviation of the kernels' first directions."""

LEAST_VARIANCE = 1e-8
"""Added to a variance before it is divided by."""


class NormedConv(CausalConv):
    """A causal convolution whose kernel has a direction and, per output, a scale.

    Args:
        shift: rows and columns by which the *output* has been moved down and right, so
            that the taps, given as they are after the move, see only what is earlier.
            Zeros move in: there the bias is missing.
        first_deviation: standard deviation that `calibrate` gives the outputs.
        in_features, out_features, taps, mask_type, scale, dtype: as for `CausalConv`.
    """

    needs_calibration = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        taps: Taps,
        mask_type: MaskType = "B",
        *,
        shift: Tap = (0, 0),
        first_deviation: float = 1.0,
        scale: int = 1,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            in_features,
            out_features,
            taps,
            mask_type,
            scale=scale,
            dtype=dtype,
            rngs=rngs,
        )
        self.shift = shift
        self.first_deviation = first_deviation
        shape = self.kernel[...].shape
        # Takes the place of the Glorot kernel: `_fold` divides by the length, so only
        # the direction counts.
        direction = DIRECTION_SCALE * jax.random.normal(rngs.params(), shape)
        self.kernel = nnx.Param(direction)
        self.gain = nnx.Param(jnp.ones(out_features, jnp.float32))

    def _fold(self, masked_TCD: jax.Array) -> jax.Array:
        # Of the masked kernel: weights that no output sees have no say in its length.
        norm_D = jnp.sqrt((masked_TCD**2).sum((0, 1)))
        return masked_TCD * (self.gain[...] / norm_D)

    def calibrate(self, y_DBHW: jax.Array) -> None:
        """Give the outputs, which are now ``y``, mean 0 and `first_deviation`."""
        rows, columns = self.shift
        # Without the zeros that the shift moved in: they are no outputs of the layer.
        inside = y_DBHW[:, :, rows:, columns:]
        if inside.size == 0:  # an image of one row or column: nothing to learn from
            return
        mean = inside.mean((1, 2, 3))
        factor = self.first_deviation / jnp.sqrt(inside.var((1, 2, 3)) + LEAST_VARIANCE)
        # Outputs are gain * product + bias, so these make them (y - mean) * factor.
        self.gain[...] = self.gain[...] * factor
        self.bias[...] = (self.bias[...] - mean) * factor

    def _biased(self, y_DBHW: jax.Array) -> jax.Array:
        biased = super()._biased(y_DBHW)
        if self.shift == (0, 0):
            return biased
        rows, columns = (jnp.arange(size) for size in y_DBHW.shape[2:])
        inside = self._inside(rows[:, None], columns[None, :])
        return jnp.where(inside, biased, y_DBHW)

    def _bias_of_step(self, at: At, x: jax.Array) -> jax.Array:
        bias = super()._bias_of_step(at, x)
        if self.shift == (0, 0):
            return bias
        if isinstance(at, Row):
            inside = self._inside(at.row, jnp.arange(x.shape[0]))
        else:
            inside = self._inside(at.rows_F, at.columns_F)
        return bias * inside[:, None, None].astype(bias.dtype)

    def _inside(self, rows: jax.Array, columns: jax.Array) -> jax.Array:
        """Whether the unshifted output lay inside the image."""
        return (rows >= self.shift[0]) & (columns >= self.shift[1])
