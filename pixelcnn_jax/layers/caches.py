"""Activation caches: what a causal layer has seen, kept in rings that never shift.

Two layouts, both with the batch after the position, so that a segment of positions is
one contiguous read:

* `RowRing`: image row ``r`` in ring row ``r % rows``, for kernels that reach up.
* `ColumnRing`: column ``c`` of the current row in slot ``c % slots``, for kernels that
  reach to the left alone.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Cache = jax.Array
"""The array of a `RowRing` or a `ColumnRing`."""

Taps = list[tuple[int, int]]
"""(row, column) in the kernel's mask, whose last row is the position's own."""


class Front(NamedTuple):
    """Positions that are computed together, one step of a sampler."""

    rows_F: jax.Array
    columns_F: jax.Array


@dataclasses.dataclass(frozen=True)
class RowRing:
    """A cache ``[rows, W + 2 * half, B, C]`` of the latest image rows.

    Column ``c`` of the image lies at ``c + half``; the columns either side of the image
    stay zero, as do rows until they are written.
    """

    above: int
    """Rows above its own that a position reaches."""
    half: int
    """Columns that it reaches to either side."""

    def empty(self, batch_size: int, width: int, features: int, dtype, front: int):
        """For fronts that span ``front`` rows."""
        shape = (self.above + front, width + 2 * self.half, batch_size, features)
        return jnp.zeros(shape, dtype)

    def write(self, cache: Cache, x_FBC: jax.Array, front: Front) -> Cache:
        """The cache with the features of the front's positions put in."""
        x_FBC = x_FBC.astype(cache.dtype)
        for f in range(x_FBC.shape[0]):
            row = front.rows_F[f] % cache.shape[0]
            start = (row, front.columns_F[f] + self.half, 0, 0)
            cache = lax.dynamic_update_slice(cache, x_FBC[f][None, None], start)
        return cache

    def read(self, cache: Cache, front: Front, taps: Taps) -> list[jax.Array]:
        """What each tap sees from the front's positions, each ``[F, B, C]``."""
        size, _, batch_size, features = cache.shape
        windows = []
        for f in range(front.rows_F.shape[0]):
            segments = {}
            for tap_row in sorted({row for row, _ in taps}):
                columns = 1 + max(c for r, c in taps if r == tap_row)
                row = (front.rows_F[f] + tap_row - self.above) % size
                segments[tap_row] = lax.dynamic_slice(
                    cache,
                    (row, front.columns_F[f], 0, 0),
                    (1, columns, batch_size, features),
                )[0]
            windows.append([segments[row][column] for row, column in taps])
        return [jnp.stack(tap) for tap in zip(*windows, strict=True)]

    def write_row(self, cache: Cache, x_WBC: jax.Array, row: jax.Array) -> Cache:
        """The cache with the features of a whole row put in."""
        start = (row % cache.shape[0], self.half, 0, 0)
        return lax.dynamic_update_slice(cache, x_WBC.astype(cache.dtype)[None], start)

    def read_row(self, cache: Cache, row: jax.Array, taps: Taps) -> list[jax.Array]:
        """What each tap sees from a whole row's positions, each ``[W, B, C]``."""
        size, padded = cache.shape[:2]
        width = padded - 2 * self.half
        rows = {
            tap_row: lax.dynamic_index_in_dim(
                cache, (row + tap_row - self.above) % size, keepdims=False
            )
            for tap_row in {row for row, _ in taps}
        }
        return [rows[row][column : column + width] for row, column in taps]


@dataclasses.dataclass(frozen=True)
class ColumnRing:
    """A cache ``[half + 1, B, C]`` of the latest columns of one row.

    It must be empty when a row begins: what is left of the image is zero.
    """

    half: int
    """Columns that a position reaches to the left."""

    def empty(self, batch_size: int, width: int, features: int, dtype, front: int):
        """One row has one position at a time, so ``front`` is 1."""
        assert front == 1
        return jnp.zeros((self.half + 1, batch_size, features), dtype)

    def write(self, cache: Cache, x_FBC: jax.Array, front: Front) -> Cache:
        """The cache with the features of the front's one position put in."""
        slot = front.columns_F[0] % cache.shape[0]
        return lax.dynamic_update_slice(cache, x_FBC.astype(cache.dtype), (slot, 0, 0))

    def read(self, cache: Cache, front: Front, taps: Taps) -> list[jax.Array]:
        """What each tap sees from the front's one position, each ``[1, B, C]``."""
        slots = [
            (front.columns_F[0] + column - self.half) % cache.shape[0]
            for _, column in taps
        ]
        return [lax.dynamic_slice_in_dim(cache, slot, 1) for slot in slots]
