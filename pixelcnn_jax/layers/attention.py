"""Causal attention: each position reads from all that come strictly earlier.

Keys and values of a position are made of its pixel too, so they are finished once it is
drawn: a step reads those of earlier positions, `observe` adds its own.

Source: Chen et al. 2018, PixelSNAIL (arXiv:1712.09763), section 2 and the authors'
code. There the first position, which has nothing to read from, gets exactly zero.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.typing import DTypeLike

from pixelcnn_jax.layers.base import At, CausalLayer, Row, Spec, start_indices
from pixelcnn_jax.layers.passes import CachedPass, Pass
from pixelcnn_jax.layers.products import moved, moved_type, to_move
from pixelcnn_jax.layers.resnets import MakeNormed, Projection

LEAST_TOTAL = 1e-6
"""Added to the sum of the weights before it divides: nothing to read from gives 0."""

LEAST_SCORE = float(np.finfo(np.float32).min)
"""The best score of nothing."""


class Seen(NamedTuple):
    """The input of `Attention`."""

    query: jax.Array
    """N * K features: what each position asks for, from earlier pixels only."""
    context: jax.Array
    """What its keys and values are made of, besides the pixel."""
    memory: jax.Array
    """N * (K + V) features, its keys and values, see `Attention.remember`. At a front,
    where the pixel is not known, nobody reads them."""


class Memory(NamedTuple):
    """The cache of `Attention`."""

    keys: jax.Array
    """``[H, B, N, W, K]`` of all positions so far."""
    values: jax.Array
    """``[H, B, N, W, V]``."""
    context: jax.Array
    """``[1, B, C]`` of the position whose pixel is not known yet."""


class Sums(NamedTuple):
    """What the queries have read from some positions, before it is divided."""

    best: jax.Array
    """``[B, N, Q, 1]``, the greatest score; the weights are relative to it."""
    total: jax.Array
    """``[B, N, Q, 1]``, the sum of the weights."""
    mixed: jax.Array
    """``[B, N, Q, V]``, the weighted sum of the values."""


class Attention(CausalLayer[Seen, Memory]):
    """Each position's weighted mean of the values of all strictly earlier ones.

    Args:
        pixel_features, context_features: of the encoded pixel, and of what else keys
            and values are made of.
        key_features, value_features: K and V of each head.
        num_heads: N.
        dropout: of the network that makes keys and values.
        conv: makes its layers.
        dtype: of the operands of products; sums are float32.
    """

    def __init__(
        self,
        pixel_features: int,
        context_features: int,
        key_features: int,
        value_features: int,
        *,
        num_heads: int,
        dropout: float,
        conv: MakeNormed,
        dtype: DTypeLike,
    ):
        self.context_features = context_features
        self.key_features = key_features
        self.value_features = value_features
        self.num_heads = num_heads
        self.dtype = jnp.dtype(dtype)
        self.network = Projection(
            pixel_features + context_features,
            num_heads * (key_features + value_features),
            dropout=dropout,
            conv=conv,
        )

    @property
    def lag(self) -> int | None:
        # Everything earlier is read, the end of the row above too.
        return None

    def remember(self, pixel: jax.Array, context: jax.Array, apply: Pass) -> jax.Array:
        """Keys and values: `Seen.memory`."""
        both = jnp.concatenate([pixel, context], apply.features)
        return self.network(both, apply)

    def __call__(self, x: Seen) -> jax.Array:
        """The image pass: ``[N * V, B, H, W]``."""
        height, width = x.query.shape[2:]
        keys, values = jnp.split(x.memory, [self.num_heads * self.key_features])
        place = jnp.arange(height * width)
        query, keys, values = (self._of_maps(y) for y in (x.query, keys, values))
        sums = self._sums(query, keys, values, place[:, None] > place)
        mixed = jnp.moveaxis(_mean(sums), (1, 3, 0, 2), (0, 1, 2, 3))  # [N, V, B, P]
        features = self.num_heads * self.value_features
        return mixed.reshape(features, mixed.shape[2], height, width)

    def image_pass_bytes(self, count: int, height: int, width: int) -> int:
        """What an image pass over so many images holds at a time."""
        pairs = count * self.num_heads * (height * width) ** 2
        return 3 * 4 * pairs  # their scores, those allowed, and weights: float32

    def reverse_mode(self, x: Seen) -> jax.Array:
        # Weights of all pairs of positions would be kept for the gradient: they are
        # much more than the features that they are computed from.
        return jax.checkpoint(self.__call__)(x)

    def _of_maps(self, x_CBHW: jax.Array) -> jax.Array:
        """Maps as ``[B, N, P, C / N]``."""
        features, batch, height, width = x_CBHW.shape
        shape = self.num_heads, features // self.num_heads, batch, height * width
        heads = x_CBHW.reshape(shape)
        return jnp.moveaxis(heads, (0, 1, 2, 3), (1, 3, 0, 2)).astype(self.dtype)

    def _of_step(self, x_FBC: jax.Array) -> jax.Array:
        """A step's features as ``[B, N, F, C / N]``."""
        heads = x_FBC.reshape(*x_FBC.shape[:2], self.num_heads, -1)
        return jnp.moveaxis(heads, 0, 2).astype(self.dtype)

    def _sums(
        self,
        query_BNQK: jax.Array,
        keys_BNSK: jax.Array,
        values_BNSV: jax.Array,
        allowed: jax.Array,
    ) -> Sums:
        """What queries read from these positions, as far as ``[Q, S]`` allows."""
        scores = _product("bnqk,bnsk->bnqs", query_BNQK, keys_BNSK)
        scores = scores * self.key_features**-0.5
        best = jnp.max(scores, -1, keepdims=True, where=allowed, initial=LEAST_SCORE)
        # A constant for the gradient: it cancels but for `LEAST_TOTAL`.
        best = lax.stop_gradient(best)
        # Set before the exponential, so that what is not allowed has no gradient: a
        # score of minus a large number would count if it stood by itself.
        weights = jnp.where(allowed, jnp.exp(jnp.where(allowed, scores - best, 0)), 0)
        mixed = _product("bnqs,bnsv->bnqv", weights.astype(self.dtype), values_BNSV)
        return Sums(best, weights.sum(-1, keepdims=True), mixed)

    def init_cache(self, spec: Spec) -> Memory:
        """Nothing to read from yet; it grows with the image."""
        # Row by row of the image, so that a prefix is whole pieces of memory.
        shape = spec.height, spec.batch_size, self.num_heads, spec.width
        return Memory(
            jnp.zeros((*shape, self.key_features), moved_type(self.dtype)),
            jnp.zeros((*shape, self.value_features), moved_type(self.dtype)),
            jnp.zeros((1, spec.batch_size, self.context_features), jnp.float32),
        )

    def step(self, cache: Memory, at: At, x: Seen) -> tuple[jax.Array, Memory]:
        """``[F, B, N * V]``; of a row, the pixels must be known."""
        query = self._of_step(x.query)
        if isinstance(at, Row):
            cache = self._write(cache, at.row, jnp.int32(0), x.memory)
            place = at.row * len(x.query) + jnp.arange(len(x.query))
            sums = self._read_all(cache, place, query)
        else:
            cache = cache._replace(context=x.context)
            place = at.rows_F * cache.keys.shape[3] + at.columns_F
            sums = lax.platform_dependent(
                cache, place, query, cpu=self._read_rows, default=self._read_all
            )
        mixed = jnp.moveaxis(_mean(sums), 2, 0)  # [F, B, N, V]
        return mixed.reshape(*mixed.shape[:2], -1), cache

    def _read_all(self, cache: Memory, place: jax.Array, query: jax.Array) -> Sums:
        """What the queries at these positions read from all strictly earlier ones."""

        def flat(x_HBNWK: jax.Array) -> jax.Array:
            x = jnp.moveaxis(x_HBNWK, 0, 2)
            return moved(x.reshape(*x.shape[:2], -1, x.shape[-1]), self.dtype)

        keys, values = flat(cache.keys), flat(cache.values)
        earlier = place[:, None] > jnp.arange(keys.shape[2])
        return self._sums(query, keys, values, earlier)

    def _read_rows(self, cache: Memory, place: jax.Array, query: jax.Array) -> Sums:
        """The same for one position, without touching the rows below it."""
        # A processor waits for memory here, so it pays to read no more than the prefix,
        # in whole pieces. An accelerator would wait for each round of the loop.
        width = cache.keys.shape[3]

        def add(row: jax.Array, sums: Sums) -> Sums:
            row = jnp.asarray(row)
            keys = lax.dynamic_index_in_dim(cache.keys, row, keepdims=False)
            values = lax.dynamic_index_in_dim(cache.values, row, keepdims=False)
            keys, values = (moved(x, self.dtype) for x in (keys, values))
            earlier = place[:, None] > row * width + jnp.arange(width)
            return _joined(sums, self._sums(query, keys, values, earlier))

        heads = query.shape[:3]
        nothing = Sums(
            jnp.full((*heads, 1), LEAST_SCORE, jnp.float32),
            jnp.zeros((*heads, 1), jnp.float32),
            jnp.zeros((*heads, self.value_features), jnp.float32),
        )
        return lax.fori_loop(0, -(-place[0] // width), add, nothing)

    def observe(self, cache: Memory, at: At, x_FBC: jax.Array) -> Memory:
        """The keys and values of this position, whose pixel is now known."""
        if isinstance(at, Row):  # its step comes later, and brings them
            return cache
        pixel = x_FBC[..., : self._pixel_features]
        memory = self.remember(pixel, cache.context, _without_caches(self.network, at))
        return self._write(cache, at.rows_F[0], at.columns_F[0], memory)

    @property
    def _pixel_features(self) -> int:
        return self.network.out.in_features - self.context_features

    def _write(
        self, cache: Memory, row: jax.Array, column: jax.Array, memory: jax.Array
    ) -> Memory:
        split = jnp.split(memory, [self.num_heads * self.key_features], -1)
        keys, values = (to_move(self._of_step(x)[None], self.dtype) for x in split)
        start = start_indices(row, 0, 0, column, 0)
        return cache._replace(
            keys=lax.dynamic_update_slice(cache.keys, keys, start),
            values=lax.dynamic_update_slice(cache.values, values, start),
        )


def _joined(a: Sums, b: Sums) -> Sums:
    """What queries have read from two sets of positions together."""
    best = jnp.maximum(a.best, b.best)
    old, new = jnp.exp(a.best - best), jnp.exp(b.best - best)
    total = a.total * old + b.total * new
    return Sums(best, total, a.mixed * old + b.mixed * new)


def _mean(sums: Sums) -> jax.Array:
    return sums.mixed / (sums.total + LEAST_TOTAL)


def _product(axes: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum(axes, a, b, preferred_element_type=jnp.float32)


def _without_caches(network: nnx.Module, at: At) -> CachedPass:
    """A pass over a network whose layers remember nothing."""
    layers = [x for _, x in nnx.iter_modules(network) if isinstance(x, CausalLayer)]
    names = {id(layer): str(number) for number, layer in enumerate(layers)}
    return CachedPass(names, dict.fromkeys(names.values(), ()), at)
