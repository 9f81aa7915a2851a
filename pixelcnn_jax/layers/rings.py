"""The ring: what a layer has seen, kept where it lies until it is no longer needed.

A kernel that reaches two rows up (``above=2``) and one column to either side
(``left=1, right=1``), on images five columns wide, keeps three rows. Row ``r`` of the
image lies in ring row ``r % 3``, so a new row overwrites the oldest and nothing ever
shifts:

                     pad |  0    1    2    3    4  | pad
        ring row 0    0  | x30  x31  x32   .    .  |  0     row 3, being visited
        ring row 1    0  | x10  x11  x12  x13  x14 |  0     row 1
        ring row 2    0  | x20  x21  x22  x23  x24 |  0     row 2

(The dots still hold row 0: nobody reads them before row 3 has overwritten them.) The
pads stay zero, and so do rows above the image, which nobody has written: the zeros that
a convolution of whole images finds outside. Each entry is ``[B, C]``, the batch after
the position, so that the taps of one row are one contiguous read.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from pixelcnn_jax.layers.base import At, Front, Row, Spec, start_indices
from pixelcnn_jax.layers.products import moved_type, to_move
from pixelcnn_jax.masks import Taps, reach


@dataclasses.dataclass(frozen=True)
class Ring:
    """The layout of a cache ``[rows, left + W + right, B, C]``."""

    above: int
    """Rows above its own that a position reaches."""
    left: int
    """Columns that it reaches to the left."""
    right: int
    """Columns that it reaches to the right."""

    @classmethod
    def of(cls, taps: Taps) -> "Ring":
        """The ring of a kernel with these taps."""
        return cls(*reach(taps))

    def empty(self, spec: Spec, features: int, dtype: DTypeLike) -> jax.Array:
        """All zeros; it has a row more for each further row that a front spans.

        Args:
            dtype: of the operands of products; the ring is of its `moved_type`.
        """
        # The top row of a front still reads `above` rows up while the lowest is
        # written: with a row less, that would overwrite what is read.
        columns = self.left + spec.width + self.right
        shape = (self.above + spec.rows, columns, spec.batch_size, features)
        return jnp.zeros(shape, moved_type(dtype))

    def write(self, cache: jax.Array, at: At, x_FBC: jax.Array) -> jax.Array:
        """The cache with the features at these positions put in."""
        # The rounding that operands of products get anyway: it costs no precision here.
        is_bits = cache.dtype == jnp.uint16
        x_FBC = to_move(x_FBC, jnp.bfloat16 if is_bits else cache.dtype)
        if isinstance(at, Row):
            start = (at.row % cache.shape[0], self.left, 0, 0)
            return lax.dynamic_update_slice(cache, x_FBC[None], start_indices(*start))
        # One small update per position, not a scatter: XLA does it in place and, on a
        # CPU, as a plain copy of memory. A front has few positions.
        for f in range(x_FBC.shape[0]):
            start = (at.rows_F[f] % cache.shape[0], at.columns_F[f] + self.left, 0, 0)
            cache = lax.dynamic_update_slice(
                cache, x_FBC[f][None, None], start_indices(*start)
            )
        return cache

    def read(
        self, cache: jax.Array, at: At, taps: Taps, stride: int = 1
    ) -> list[jax.Array]:
        """What each tap sees from these positions, each ``[F, B, C]``, for `gather`.

        With a stride, ``at`` is on a coarser grid than the ring: every ``stride``-th
        row and column.
        """
        if isinstance(at, Row):
            return self._read_row(cache, at, taps, stride)
        # As in `write`: a contiguous slice per position and row is faster than gather.
        windows = [
            self._window(cache, at, f, taps, stride) for f in range(len(at.rows_F))
        ]
        return [jnp.stack(tap) for tap in zip(*windows, strict=True)]

    def _window(
        self, cache: jax.Array, at: Front, f: int, taps: Taps, stride: int
    ) -> list[jax.Array]:
        """What each tap sees from one position, each ``[B, C]``."""
        size, _, batch_size, features = cache.shape
        segments = {}
        # One contiguous slice per row of taps, from its first column to its last.
        for tap_row in sorted({row for row, _ in taps}):
            columns = [column for row, column in taps if row == tap_row]
            first, last = min(columns), max(columns)
            # Rows above the image are negative: `%` takes them to ring rows that nobody
            # has written yet, which are zero.
            row = (at.rows_F[f] * stride + tap_row) % size
            column = at.columns_F[f] * stride + (self.left + first)
            segment = lax.dynamic_slice(
                cache,
                start_indices(row, column, 0, 0),
                (1, last - first + 1, batch_size, features),
            )[0]
            segments |= {(tap_row, c): segment[c - first] for c in columns}
        return [segments[tap] for tap in taps]

    def _read_row(
        self, cache: jax.Array, at: Row, taps: Taps, stride: int
    ) -> list[jax.Array]:
        size, columns = cache.shape[:2]
        width = columns - self.left - self.right
        rows = {
            tap_row: lax.dynamic_index_in_dim(
                cache, (at.row * stride + tap_row) % size, keepdims=False
            )
            for tap_row in sorted({row for row, _ in taps})
        }
        # From the tap's column on: what every position of the row sees, pads included.
        starts = [(row, self.left + column) for row, column in taps]
        return [rows[row][start : start + width : stride] for row, start in starts]
