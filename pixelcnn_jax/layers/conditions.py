"""How features learn of what their image is conditioned on."""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from pixelcnn_jax.layers.base import (
    At,
    CausalLayer,
    ReadConditions,
    Row,
    Spec,
    start_indices,
)
from pixelcnn_jax.layers.products import add_to_maps


class ConditionSizes(NamedTuple):
    """What a model's conditions are, once they are read."""

    classes: int = 0
    """Classes; 0: it knows none."""
    vector: int = 0
    """Features of `ReadConditions.vector`; 0: there is none."""
    map: int = 0
    """Features of `ReadConditions.map`; 0: there is none."""


class PlacedBias(NamedTuple):
    """The cache of a `ConditionBias` whose vectors differ from place to place."""

    values: jax.Array
    """``[h, w, B, D]``, as coarse as the map that they come from."""
    repeats: jax.Array
    """int32 ``[2]``, see `ReadConditions.repeats`."""


Cache: TypeAlias = PlacedBias | jax.Array | tuple[()]


class ConditionBias(CausalLayer[tuple[jax.Array, ReadConditions], Cache]):
    """Features plus a learned linear function of the conditions, zero at first.

    The sum of a vector for the image's class, a 1x1 layer of the conditions that hold
    for the whole image, and one of those that hold for the position. Its input is the
    features and the conditions; its cache what they contribute, computed once per image
    and no finer than the map. For a model without conditions it adds nothing and has no
    parameters.

    Args:
        sizes: of the model's conditions.
        features: D.
        scale: see `CausalLayer`.
    """

    def __init__(self, sizes: ConditionSizes, features: int, *, scale: int = 1):
        self.scale = scale
        # None of them needs a bias: the layers whose features these are have one.
        if sizes.classes:
            self.table = _zeros(sizes.classes, features)
        if sizes.vector:
            self.vector_kernel = _zeros(sizes.vector, features)
        if sizes.map:
            self.map_kernel = _zeros(sizes.map, features)

    def _whole(self, conditions: ReadConditions) -> jax.Array | None:
        """What holds for whole images, ``[B, D]``."""
        found = None
        if conditions.labels is not None:
            # One row more, zeros: -1, which stands for no class, finds the last one.
            found = jnp.pad(self.table[...], ((0, 1), (0, 0)))[conditions.labels]
        if conditions.vector is not None:
            of_vector = conditions.vector @ self.vector_kernel[...]
            found = of_vector if found is None else found + of_vector
        return found

    def _placed(self, conditions: ReadConditions) -> jax.Array | None:
        """What holds for places, ``[D, B, h, w]``."""
        if conditions.map is None:
            return None
        return jnp.einsum("ebhw,ed->dbhw", conditions.map, self.map_kernel[...])

    def __call__(self, x: tuple[jax.Array, ReadConditions]) -> jax.Array:
        """The image pass: ``[D, B, H, W]``, same shape out as in."""
        y, conditions = x
        whole_BD, placed = self._whole(conditions), self._placed(conditions)
        if whole_BD is not None:
            y = add_to_maps(y, whole_BD.T)
        if placed is None:
            return y
        for axis, repeats in zip((2, 3), conditions.repeats, strict=True):
            placed = jnp.repeat(placed, repeats, axis)
        return y + placed[:, :, :: self.scale, :: self.scale]

    @property
    def rows_above(self) -> int | None:
        return 0

    def init_cache(self, spec: Spec) -> Cache:
        """What the conditions contribute to each image."""
        whole_BD = self._whole(spec.conditions)
        placed = self._placed(spec.conditions)
        if placed is None:
            return () if whole_BD is None else whole_BD
        values = jnp.moveaxis(placed, (0, 1), (3, 2))  # [h, w, B, D]
        if whole_BD is not None:
            values = values + whole_BD
        return PlacedBias(values, jnp.array(spec.conditions.repeats, jnp.int32))

    def step(
        self, cache: Cache, at: At, x: tuple[jax.Array, ReadConditions]
    ) -> tuple[jax.Array, Cache]:
        """``[F, B, D]``, same shape out as in."""
        # Steps are given no conditions: the cache holds what they contribute.
        y, _ = x
        if isinstance(cache, PlacedBias):
            return y + self._here(cache, at, len(y)), cache
        return y if isinstance(cache, tuple) else y + cache, cache

    def _here(self, cache: PlacedBias, at: At, width: int) -> jax.Array:
        """What is contributed at these positions, ``[F, B, D]``."""
        down, right = cache.repeats[0], cache.repeats[1]
        if isinstance(at, Row):
            columns = jnp.arange(width) * self.scale // right
            row = at.row * self.scale // down
            return lax.dynamic_index_in_dim(cache.values, row, keepdims=False)[columns]
        rows, columns = at.rows_F * self.scale // down, at.columns_F * self.scale
        columns = columns // right
        # A slice per position, as in `rings`: faster than a gather on a CPU.
        size = (1, 1, *cache.values.shape[2:])
        starts = [start_indices(rows[f], columns[f], 0, 0) for f in range(width)]
        here = [lax.dynamic_slice(cache.values, at, size)[0] for at in starts]
        return jnp.concatenate(here)


def _zeros(*shape: int) -> nnx.Param:
    return nnx.Param(jnp.zeros(shape, jnp.float32))
