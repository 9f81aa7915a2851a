"""The causal convolution, of which all networks are made."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from pixelcnn_jax.layers.caches import Cache, ColumnRing, RowRing
from pixelcnn_jax.masks import MaskType, Stack, causal_mask, live_taps


class CausalConv(nnx.Module):
    """A convolution that sees only what comes earlier in raster order.

    The effective kernel is ``kernel * mask`` with a constant mask. Taps that the mask
    closes to every output are neither read nor multiplied. Kernels start out
    Glorot-uniform over the fan of the full ``K x K`` kernel, as in Keras, or of the
    kernel's own taps in the stacks of the Gated PixelCNN; biases zero.

    Args:
        in_features, out_features: C and D.
        kernel_size: K, odd.
        mask_type: "A" for the first layer of a network, "B" for all others.
        num_channels: channels of the image, whose order the mask keeps.
        stack, parts: as for `masks.causal_mask`.
        dtype: of activations and products; parameters are float32.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        mask_type: MaskType,
        *,
        num_channels: int = 1,
        stack: Stack = "full",
        parts: int = 1,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.in_features = in_features
        self.out_features = out_features
        self.kernel_size = kernel_size
        self.mask_type: MaskType = mask_type
        self.num_channels = num_channels
        self.stack: Stack = stack
        self.parts = parts
        self.dtype = dtype
        half = kernel_size // 2
        rows = 1 if stack == "horizontal" else half + 1
        taps = kernel_size**2 if stack == "full" else len(live_taps(self.mask))
        limit = float(np.sqrt(6 / (taps * (in_features + out_features))))
        shape = (rows, kernel_size, in_features, out_features)
        self.kernel = nnx.Param(
            jax.random.uniform(rngs.params(), shape, jnp.float32, -limit, limit)
        )
        self.bias = nnx.Param(jnp.zeros(out_features, jnp.float32))

    @property
    def mask(self) -> np.ndarray:
        """float32 ``[rows, K, C, D]``, see `masks.causal_mask`."""
        return causal_mask(
            self.kernel_size,
            self.mask_type,
            self.in_features,
            self.out_features,
            self.num_channels,
            stack=self.stack,
            parts=self.parts,
        )

    @property
    def ring(self) -> RowRing | ColumnRing:
        """How the layer's cache is laid out."""
        half = self.kernel_size // 2
        return ColumnRing(half) if self.stack == "horizontal" else RowRing(half, half)

    @property
    def is_pointwise(self) -> bool:
        """Whether a position needs no other position, and so no cache."""
        return self.kernel_size == 1

    def product(self, taps: Sequence[jax.Array]) -> jax.Array:
        """The output at each position from its live taps, each ``[..., C]``."""
        mask = self.mask
        kernel = (self.kernel[...] * mask).astype(self.dtype)
        live = [kernel[row, column] for row, column in live_taps(mask)]
        inputs = jnp.concatenate(taps, -1).astype(self.dtype)
        return inputs @ jnp.concatenate(live) + self.bias[...].astype(self.dtype)

    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """The image pass: ``[B, H, W, C]`` to ``[B, H, W, D]``."""
        _, height, width, _ = x_BHWC.shape
        mask = self.mask
        above, half = len(mask) - 1, self.kernel_size // 2
        padded = jnp.pad(x_BHWC, ((0, 0), (above, 0), (half, half), (0, 0)))
        return self.product(
            [
                padded[:, row : row + height, column : column + width]
                for row, column in live_taps(mask)
            ]
        )

    def init_cache(self, batch_size: int, width: int, front: int = 1) -> Cache:
        """An empty cache for ``width`` columns and fronts of ``front`` rows."""
        return self.ring.empty(batch_size, width, self.in_features, self.dtype, front)

    def read(self, cache: Cache, front) -> jax.Array:
        """The output at the front's positions, ``[F, B, D]``, from the cache alone."""
        return self.product(self.ring.read(cache, front, live_taps(self.mask)))

    def read_row(self, cache: Cache, row: jax.Array) -> jax.Array:
        """The output at a whole row, ``[W, B, D]``, from the cache alone."""
        ring = self.ring
        assert isinstance(ring, RowRing)
        return self.product(ring.read_row(cache, row, live_taps(self.mask)))
