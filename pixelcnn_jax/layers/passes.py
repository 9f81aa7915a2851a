"""The passes: how a network's body applies its causal layers."""

from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp

from pixelcnn_jax.layers.caches import Cache, Front, RowRing
from pixelcnn_jax.layers.causal import CausalConv


class Pass(Protocol):
    """How a network's body applies its causal layers."""

    def __call__(self, layer: CausalConv, x: jax.Array | None) -> jax.Array:
        """The layer's output; ``x`` is None where a cache holds its input already."""
        ...

    def per_image(self, y_BD: jax.Array) -> jax.Array:
        """Values that each image has once, so shaped that they add to features."""
        ...

    def dropout(self, x: jax.Array, rate: float) -> jax.Array:
        """Dropout in training, the identity otherwise."""
        ...


class ImagePass:
    """Applies layers to whole images ``[B, H, W, C]``.

    ``dropout_keys_B``, a key for each image, makes it a pass of training: a feature's
    fate depends on its image's key and its place alone, not on the rest of the batch.
    ``reverse_mode`` makes gradients faster, see `CausalConv`.
    """

    def __init__(
        self, dropout_keys_B: jax.Array | None = None, reverse_mode: bool = False
    ):
        self._keys_B = dropout_keys_B
        self._reverse_mode = reverse_mode
        self._dropouts = 0

    def __call__(self, layer: CausalConv, x: jax.Array | None) -> jax.Array:
        assert x is not None
        return layer(x, reverse_mode=self._reverse_mode)

    def per_image(self, y_BD: jax.Array) -> jax.Array:
        return y_BD[:, None, None]

    def dropout(self, x: jax.Array, rate: float) -> jax.Array:
        if self._keys_B is None or rate == 0:
            return x
        index, self._dropouts = self._dropouts, self._dropouts + 1

        kept = min(max(1, round(2**16 * (1 - rate))), 2**16 - 1)

        def keep(key: jax.Array) -> jax.Array:
            # 16 bits a feature cost half of what a float takes.
            key = jax.random.fold_in(key, index)
            return jax.random.bits(key, x.shape[1:], jnp.uint16) < kept

        scaled = (x * (2**16 / kept)).astype(x.dtype)
        return jnp.where(jax.vmap(keep)(self._keys_B), scaled, 0)


image_pass = ImagePass()
"""The image pass without dropout."""


class _CachedPass:
    """Applies layers over caches in the order of use.

    ``caches`` holds the old caches of the layers not yet applied and the new caches of
    the others: after the body has run, all are new.
    """

    def __init__(self, caches: Sequence[Cache]):
        self.caches = list(caches)
        self._next = 0

    def __call__(self, layer: CausalConv, x: jax.Array | None) -> jax.Array:
        if layer.is_pointwise:
            assert x is not None
            return layer.product([x])
        index, self._next = self._next, self._next + 1
        if x is not None:
            self.caches[index] = self._write(layer, self.caches[index], x)
        return self._read(layer, self.caches[index])

    def _write(self, layer: CausalConv, cache: Cache, x: jax.Array) -> Cache:
        raise NotImplementedError

    def _read(self, layer: CausalConv, cache: Cache) -> jax.Array:
        raise NotImplementedError

    def per_image(self, y_BD: jax.Array) -> jax.Array:
        return y_BD

    def dropout(self, x: jax.Array, rate: float) -> jax.Array:
        return x


class StepPass(_CachedPass):
    """Applies layers to one front of positions, ``[F, B, C]``."""

    def __init__(self, caches: Sequence[Cache], front: Front):
        super().__init__(caches)
        self._front = front

    def _write(self, layer: CausalConv, cache: Cache, x: jax.Array) -> Cache:
        return layer.ring.write(cache, x, self._front)

    def _read(self, layer: CausalConv, cache: Cache) -> jax.Array:
        return layer.read(cache, self._front)


class RowPass(_CachedPass):
    """Applies layers to one whole row of positions, ``[W, B, C]``."""

    def __init__(self, caches: Sequence[Cache], row: jax.Array):
        super().__init__(caches)
        self._row = row

    def _write(self, layer: CausalConv, cache: Cache, x: jax.Array) -> Cache:
        ring = layer.ring
        assert isinstance(ring, RowRing)
        return ring.write_row(cache, x, self._row)

    def _read(self, layer: CausalConv, cache: Cache) -> jax.Array:
        return layer.read_row(cache, self._row)
