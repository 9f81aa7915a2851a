"""Causal layers, each with one body that serves two passes.

The *image pass* computes all positions of an image at once; a position's context is cut
out of the zero-padded input. The *step* computes one front of positions; their context
is read from an activation cache. The passes differ in where the context comes from and
in nothing else: `CausalConv.product` is the only arithmetic, and composites are written
once, over a `Pass` that says how a causal layer is to be applied.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from pixelcnn_jax.masks import MaskType, causal_mask, live_taps

Cache = jax.Array
"""The inputs that a causal layer has seen, ``[rows, W + K - 1, B, C]``.

A ring over image rows: image row ``r`` lies in ring row ``r % rows``. Column ``c`` of
the image lies at ``c + K // 2``; the columns either side of the image stay zero. The
batch comes after the position, so that a row segment is one contiguous read.
"""


class Front(NamedTuple):
    """Positions that are computed together, one step of a sampler."""

    rows_F: jax.Array
    columns_F: jax.Array


class CausalConv(nnx.Module):
    """A convolution that sees only what comes earlier in raster order.

    The effective kernel is ``kernel * mask`` with a constant mask. Taps that the mask
    closes to every output are neither read nor multiplied. Kernels start out
    Glorot-uniform over the fan of the full ``K x K`` kernel, as in Keras; biases zero.

    Args:
        in_features, out_features: C and D.
        kernel_size: K, odd.
        mask_type: "A" for the first layer of a network, "B" for all others.
        num_channels: channels of the image, whose order the mask keeps.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        mask_type: MaskType,
        *,
        num_channels: int = 1,
        rngs: nnx.Rngs,
    ):
        self.in_features = in_features
        self.out_features = out_features
        self.kernel_size = kernel_size
        self.mask_type: MaskType = mask_type
        self.num_channels = num_channels
        limit = float(np.sqrt(6 / (kernel_size**2 * (in_features + out_features))))
        shape = (kernel_size // 2 + 1, kernel_size, in_features, out_features)
        self.kernel = nnx.Param(
            jax.random.uniform(rngs.params(), shape, jnp.float32, -limit, limit)
        )
        self.bias = nnx.Param(jnp.zeros(out_features, jnp.float32))

    @property
    def mask(self) -> np.ndarray:
        """float32 ``[K // 2 + 1, K, C, D]``, see `masks.causal_mask`."""
        return causal_mask(
            self.kernel_size,
            self.mask_type,
            self.in_features,
            self.out_features,
            self.num_channels,
        )

    def product(self, taps: Sequence[jax.Array]) -> jax.Array:
        """The output at each position from its live taps, each ``[..., C]``."""
        mask = self.mask
        kernel = self.kernel[...] * mask
        live = [kernel[row, column] for row, column in live_taps(mask)]
        return jnp.concatenate(taps, -1) @ jnp.concatenate(live) + self.bias[...]

    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """The image pass: ``[B, H, W, C]`` to ``[B, H, W, D]``."""
        _, height, width, _ = x_BHWC.shape
        half = self.kernel_size // 2
        padded = jnp.pad(x_BHWC, ((0, 0), (half, 0), (half, half), (0, 0)))
        return self.product(
            [
                padded[:, row : row + height, column : column + width]
                for row, column in live_taps(self.mask)
            ]
        )

    @property
    def is_pointwise(self) -> bool:
        """Whether a position needs no other position, and so no cache."""
        return self.kernel_size == 1

    def init_cache(self, batch_size: int, width: int, rows: int | None = None) -> Cache:
        """An empty cache for images of ``width`` columns.

        ``rows`` is how many image rows it holds; by default those that one row of
        positions needs, ``K // 2 + 1``.
        """
        half = self.kernel_size // 2
        rows = half + 1 if rows is None else rows
        return jnp.zeros((rows, width + 2 * half, batch_size, self.in_features))

    def write(self, cache: Cache, x_FBC: jax.Array, front: Front) -> Cache:
        """The cache with the layer's input at the front's positions put in."""
        half = self.kernel_size // 2
        for f in range(x_FBC.shape[0]):
            start = (front.rows_F[f] % cache.shape[0], front.columns_F[f] + half, 0, 0)
            cache = lax.dynamic_update_slice(cache, x_FBC[f][None, None], start)
        return cache

    def read(self, cache: Cache, front: Front) -> jax.Array:
        """The output at the front's positions, ``[F, B, D]``, from the cache alone."""
        return self.product(self._cached_taps(cache, front))

    def step(
        self, cache: Cache, x_FBC: jax.Array, front: Front
    ) -> tuple[jax.Array, Cache]:
        """`write`, then `read`: the output ``[F, B, D]`` and the new cache."""
        cache = self.write(cache, x_FBC, front)
        return self.read(cache, front), cache

    def _cached_taps(self, cache: Cache, front: Front) -> list[jax.Array]:
        half = self.kernel_size // 2
        rows, _, batch_size, features = cache.shape
        taps = live_taps(self.mask)
        windows = []
        for f in range(front.rows_F.shape[0]):
            row, column = front.rows_F[f], front.columns_F[f]
            segments = {}
            for tap_row in sorted({tap_row for tap_row, _ in taps}):
                live = 1 + max(c for r, c in taps if r == tap_row)
                start = ((row + tap_row - half) % rows, column, 0, 0)
                size = (1, live, batch_size, features)
                segments[tap_row] = lax.dynamic_slice(cache, start, size)[0]
            windows.append([segments[r][c] for r, c in taps])
        return [jnp.stack(tap) for tap in zip(*windows, strict=True)]


class Pass(Protocol):
    """How a network's body applies its causal layers."""

    def __call__(self, layer: CausalConv, x: jax.Array | None) -> jax.Array: ...


def image_pass(layer: CausalConv, x: jax.Array | None) -> jax.Array:
    """Applies a layer to whole images."""
    assert x is not None
    return layer(x)


class StepPass:
    """Applies layers to one front of positions, over caches in the order of use.

    ``caches`` holds the old caches of the layers not yet applied and the new caches of
    the others: after the body has run, all are new. An input of ``None`` stands for
    what is in the layer's cache already.
    """

    def __init__(self, caches: Sequence[Cache], front: Front):
        self.caches = list(caches)
        self.front = front
        self._next = 0

    def __call__(self, layer: CausalConv, x: jax.Array | None) -> jax.Array:
        if layer.is_pointwise:
            assert x is not None
            return layer.product([x])
        index, self._next = self._next, self._next + 1
        if x is not None:
            self.caches[index] = layer.write(self.caches[index], x, self.front)
        return layer.read(self.caches[index], self.front)


class ResidualBlock(nnx.Module):
    """1x1 to half the features, masked K x K, 1x1 back, each with ReLU; add the input.

    Source: van den Oord et al. 2016 (arXiv:1601.06759), figure 5, in the order of
    activations of D. Foster, Generative Deep Learning, 2nd ed., chapter 5.
    """

    def __init__(
        self, features: int, kernel_size: int, *, num_channels: int, rngs: nnx.Rngs
    ):
        def conv(in_features: int, out_features: int, size: int) -> CausalConv:
            return CausalConv(
                in_features,
                out_features,
                size,
                "B",
                num_channels=num_channels,
                rngs=rngs,
            )

        self.reduce = conv(features, features // 2, 1)
        self.spread = conv(features // 2, features // 2, kernel_size)
        self.expand = conv(features // 2, features, 1)

    def __call__(self, x: jax.Array, apply: Pass = image_pass) -> jax.Array:
        """Same shape out as in, under either pass."""
        y = nnx.relu(apply(self.reduce, x))
        y = nnx.relu(apply(self.spread, y))
        return x + nnx.relu(apply(self.expand, y))
