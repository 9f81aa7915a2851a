"""The causal convolution, of which all networks are made."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from pixelcnn_jax.layers.base import At, CausalLayer, Spec
from pixelcnn_jax.layers.products import (
    add_to_maps,
    convolve_reverse,
    gather,
    gather_maps,
    weigh_maps,
    weigh_maps_reverse,
    weigh_steps,
)
from pixelcnn_jax.layers.rings import Ring
from pixelcnn_jax.masks import CENTRE, MaskType, Taps, kernel_mask, live_taps
from pixelcnn_jax.masks import lag as lag_of_taps


class CausalConv(CausalLayer[jax.Array, jax.Array | tuple[()]]):
    """A convolution that sees only what comes earlier in raster order.

    The effective kernel is ``kernel * mask`` with a constant mask, both ``[T, C, D]``.
    Kernels start out Glorot-uniform over ``fan_taps`` taps, biases zero.

    Layers of type A are a network's first: their inputs are the encoded pixels. Their
    step reads earlier positions from the cache, which `observe` has filled, and the
    position's own earlier channels from its input.

    Args:
        in_features, out_features: C and D.
        taps: such as ``masks.square(3)``; ``square(1)`` for a 1x1 layer.
        mask_type: "A" for the first layers of a network, "B" for all others.
        num_channels: channels of the image, whose order the mask keeps.
        parts: equal parts into which the outputs will be split.
        fan_taps: of the initial scale; None: the number of taps. The book's network
            counts the whole ``K x K`` kernel, as Keras does.
        scale: see `CausalLayer`.
        dtype: of the operands of products; parameters and sums are float32.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        taps: Taps,
        mask_type: MaskType = "B",
        *,
        num_channels: int = 1,
        parts: int = 1,
        fan_taps: int | None = None,
        scale: int = 1,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.in_features = in_features
        self.out_features = out_features
        # A tap that no output sees gets no weight, no product, no place in a cache.
        self.taps = live_taps(taps, mask_type, num_channels)
        self.mask_type: MaskType = mask_type
        self.num_channels = num_channels
        self.parts = parts
        self.scale = scale
        self.is_folded = False
        self.dtype = jnp.dtype(dtype)
        # Glorot's limit, sqrt(6 / (fan in + fan out)), with the fans counted over taps.
        fan = (fan_taps or len(self.taps)) * (in_features + out_features)
        limit = float(np.sqrt(6 / fan))
        shape = (len(self.taps), in_features, out_features)
        self.kernel = nnx.Param(
            jax.random.uniform(rngs.params(), shape, jnp.float32, -limit, limit)
        )
        self.bias = nnx.Param(jnp.zeros(out_features, jnp.float32))

    @property
    def mask(self) -> np.ndarray:
        """float32 ``[T, C, D]``, see `masks.kernel_mask`."""
        # Not stored: an array as attribute would be a leaf, and leaves are parameters.
        return kernel_mask(
            self.taps,
            self.mask_type,
            self.in_features,
            self.out_features,
            self.num_channels,
            self.parts,
        )

    @property
    def ring(self) -> Ring:
        """How the layer's cache is laid out."""
        return Ring.of(self.taps)

    @property
    def is_pointwise(self) -> bool:
        """Whether a position needs no other position, and so no cache."""
        return self.taps == (CENTRE,)

    @property
    def is_first(self) -> bool:
        """Whether the inputs are pixels, which `observe` gives to the cache."""
        return self.mask_type == "A"

    @property
    def lag(self) -> int | None:
        # A later channel's features of the row above are not there until all channels
        # of its pixel have been drawn; pixels themselves not until they are observed.
        return lag_of_taps(self.taps, strict=self.is_first or self.num_channels > 1)

    @property
    def rows_above(self) -> int | None:
        return self.ring.above

    def effective_kernel(self) -> jax.Array:
        """The masked kernel ``[T, C, D]``."""
        kernel = self.kernel[...]
        return kernel if self.is_folded else self._fold(kernel * self.mask)

    def _fold(self, masked_TCD: jax.Array) -> jax.Array:
        """What the masked parameters stand for."""
        return masked_TCD

    def fold(self) -> None:
        self.kernel[...] = self.effective_kernel()
        self.is_folded = True

    def __call__(self, x: jax.Array) -> jax.Array:
        """The image pass: ``[C, B, H, W]`` to float32 ``[D, B, H, W]``."""
        gathered = gather_maps(x, self.taps, self.dtype)
        y = weigh_maps(gathered, self.effective_kernel(), self.dtype)
        return self._biased(y)

    def reverse_mode(self, x: jax.Array) -> jax.Array:
        """The image pass with a faster gradient, not for forward mode."""
        # Rounded outside of the custom rule, which keeps its input for the gradient.
        x, kernel = x.astype(self.dtype), self.effective_kernel()
        # `convolve_reverse` gathers the outputs' gradient; if outputs are many more
        # than inputs, it is cheaper to gather the inputs.
        widens = self.out_features > 2 * self.in_features
        if self.is_pointwise or widens:
            gathered = gather_maps(x, self.taps, self.dtype)
            y = weigh_maps_reverse(self.dtype, gathered, kernel)
        else:
            y = convolve_reverse(self.taps, self.dtype, x, kernel)
        return self._biased(jnp.asarray(y))

    def _biased(self, y_DBHW: jax.Array) -> jax.Array:
        """Maps with the bias added."""
        return add_to_maps(y_DBHW, self.bias[...])

    def _bias_of_step(self, at: At, x: jax.Array) -> jax.Array:
        return self.bias[...]

    def init_cache(self, spec: Spec) -> jax.Array | tuple[()]:
        """An empty ring; nothing for a 1x1 layer."""
        if self.is_pointwise:
            return ()
        return self.ring.empty(spec, self.in_features, self.dtype)

    def step(
        self, cache: jax.Array | tuple[()], at: At, x: jax.Array
    ) -> tuple[jax.Array, jax.Array | tuple[()]]:
        """Outputs ``[F, B, D]`` at these positions, from inputs ``[F, B, C]``."""
        if isinstance(cache, tuple):
            return self._weigh([x], at), cache
        if self.is_first:
            # Nothing is written: the pixel is not known until all its channels are
            # drawn. Taps are in raster order, so the centre comes last, as `own` does.
            earlier = tuple(tap for tap in self.taps if tap != CENTRE)
            seen = self.ring.read(cache, at, earlier)
            own = [x] if CENTRE in self.taps else []
            return self._weigh(seen + own, at), cache
        # Before reading: the centre, and taps within a row, see inputs of this step.
        cache = self.ring.write(cache, at, x)
        return self._weigh(self.ring.read(cache, at, self.taps), at), cache

    def _weigh(self, taps: Sequence[jax.Array], at: At) -> jax.Array:
        kernel = self.effective_kernel()
        gathered = gather(taps, -1, self.dtype)
        y = weigh_steps(gathered, kernel, self.dtype)
        return y + self._bias_of_step(at, y)

    def observe(
        self, cache: jax.Array | tuple[()], at: At, x_FBC: jax.Array
    ) -> jax.Array | tuple[()]:
        """The cache of a first layer with the pixels at these positions put in."""
        if isinstance(cache, tuple) or not self.is_first:
            return cache
        return self.ring.write(cache, at, x_FBC)
