"""From a grid to one of half its rows and columns, and back.

A position of the coarser grid stands for a cell of 2 x 2. Its features are computed
when the cell's first position is visited, from that position and earlier ones; the way
back gives all four positions of the cell what is known then. Sizes are rounded up on
the way down, and what is too much is cropped on the way up: both causal.
"""

from typing import NoReturn

import jax
import jax.numpy as jnp

from pixelcnn_jax.layers.base import At, Row, Spec, start_indices
from pixelcnn_jax.layers.normed import NormedConv
from pixelcnn_jax.layers.products import (
    gather,
    shift,
    weigh_maps,
    weigh_maps_reverse,
    weigh_steps,
)
from pixelcnn_jax.masks import block

# `Grow` is written out for cells of 2 x 2: another stride needs another `Grow`.
STRIDE = 2


class Shrink(NormedConv):
    """A convolution with stride 2: ``[C, B, H, W]`` to ``[D, B, H/2, W/2]``.

    Its taps are seen from the first position of each cell. A step writes its input at
    every position (`write`) and has an output once per cell (`read`).
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """The image pass, sizes rounded up."""
        y = weigh_maps(self._gathered(x), self.effective_kernel(), self.dtype)
        return self._biased(y)

    def reverse_mode(self, x: jax.Array) -> jax.Array:
        """The image pass with a faster gradient, not for forward mode."""
        kernel = self.effective_kernel()
        y = weigh_maps_reverse(self.dtype, self._gathered(x), kernel)
        return self._biased(jnp.asarray(y))

    def _gathered(self, x: jax.Array) -> jax.Array:
        # Taps are offsets on the finer grid: first shifted there, then thinned out.
        taps = [tap[:, :, ::STRIDE, ::STRIDE] for tap in shift(x, self.taps)]
        return gather(taps, 0, self.dtype)

    @property
    def lag(self) -> int | None:
        # Cells begin at one position at a time, so fronts must have one.
        return None

    def step(self, cache: object, at: At, x: jax.Array) -> NoReturn:
        """None: it writes more often than it reads."""
        raise TypeError("a Shrink is stepped by write and read; see Pass.coarser")

    def write(self, cache: jax.Array, at: At, x: jax.Array) -> jax.Array:
        """The cache with the inputs at these positions of the finer grid put in."""
        return self.ring.write(cache, at, x)

    def read(self, cache: jax.Array, at: At) -> jax.Array:
        """The outputs at these positions of the coarser grid."""
        return self._weigh(self.ring.read(cache, at, self.taps, STRIDE), at)


class Grow(NormedConv):
    """A transposed convolution with stride 2: ``[C, B, H/2, W/2]`` to ``[D, B, H, W]``.

    Two rows by ``columns`` of taps. With two columns each position sees its own cell.
    With three, the second position of a cell sees the cell to the right as well, which
    is for features that know only rows above.
    """

    @staticmethod
    def taps_of(columns: int) -> tuple[tuple[int, int], ...]:
        """The taps of a kernel of so many columns; only their number counts."""
        return block(2, columns)

    @property
    def columns(self) -> int:
        """Columns of taps."""
        return len(self.taps) // 2

    @property
    def rows_above(self) -> int | None:
        # Its taps are not offsets: they say what a cell gives to its own positions.
        return 0

    def _sources(self, row: int, column: int) -> list[tuple[int, int]]:
        """What a position of a cell sees: (cells to the right, tap) of each input."""
        first = row * self.columns
        if self.columns == 2:
            return [(0, first + column)]
        # Of a transposed convolution with three columns, an even column meets the
        # middle tap and an odd one the two outer ones, from its own cell and the next.
        return [(0, first + 2), (1, first)] if column else [(0, first + 1)]

    def __call__(self, x: jax.Array) -> NoReturn:
        """None: the size of the output is not known from the input's."""
        raise TypeError("a Grow is applied by grow; see Pass.coarser")

    def reverse_mode(self, x: jax.Array) -> NoReturn:
        """None, as for the image pass."""
        raise TypeError("a Grow is applied by grow; see Pass.coarser")

    def step(self, cache: object, at: At, x: jax.Array) -> NoReturn:
        """None: it writes less often than it reads."""
        raise TypeError("a Grow is stepped by cells, write and read; see Pass.coarser")

    def grow(self, y: jax.Array, height: int, width: int, *, fast: bool) -> jax.Array:
        """The image pass, cropped to this size."""
        kernel = self.effective_kernel()
        weigh = self._weigh_reverse if fast else weigh_maps

        # A product for each of the four places in a cell, instead of one over a map
        # that is three quarters zeros.
        def part(row: int, column: int) -> jax.Array:
            sources = self._sources(row, column)
            maps = shift(y, tuple((0, right) for right, _ in sources))
            taps = kernel[jnp.array([tap for _, tap in sources])]
            return weigh(gather(maps, 0, self.dtype), taps, self.dtype)

        rows = [jnp.stack([part(r, c) for c in (0, 1)], -1) for r in (0, 1)]
        cells = jnp.stack(rows, -3)  # [D, B, H/2, 2, W/2, 2]
        d, b, h, _, w, _ = cells.shape
        grown = cells.reshape(d, b, 2 * h, 2 * w)[:, :, :height, :width]
        return self._biased(grown)

    @staticmethod
    def _weigh_reverse(x: jax.Array, kernel: jax.Array, dtype: jnp.dtype) -> jax.Array:
        return jnp.asarray(weigh_maps_reverse(dtype, x, kernel))

    def init_cache(self, spec: Spec) -> jax.Array:
        """Two rows of outputs ``[2, 2 * (W/2), B, D]``; ``spec`` is of the input."""
        # All four positions of a cell are computed at its first one, and the lower two
        # are read a row later. Whole cells: `read` crops what is too wide.
        shape = (2, 2 * spec.width, spec.batch_size, self.out_features)
        return jnp.zeros(shape, jnp.float32)

    def cells(self, at: At, y: jax.Array) -> jax.Array:
        """What the cells at these coarse positions give their own, ``[2, 2F, B, D]``.

        Raises:
            ValueError: a kernel of three columns, away from a whole row.
        """
        if self.columns == 3 and not isinstance(at, Row):
            raise ValueError(
                "a transposed convolution with three columns sees the cell to the"
                " right, so it must be stepped by whole rows; use two columns"
            )
        kernel = self.effective_kernel()

        def part(row: int, column: int) -> jax.Array:
            sources = self._sources(row, column)
            # A neighbouring cell is at hand only in a whole row: three columns of taps
            # are for the vertical stream, whose steps are rows.
            maps = [_from_the_right(y, cells) for cells, _ in sources]
            taps = kernel[jnp.array([tap for _, tap in sources])]
            z = weigh_steps(gather(maps, -1, self.dtype), taps, self.dtype)
            return z + self.bias[...]

        rows = [jnp.stack([part(r, c) for c in (0, 1)], 1) for r in (0, 1)]
        patch = jnp.stack(rows)  # [2, F, 2, B, D]
        return patch.reshape(2, -1, *patch.shape[3:])

    def cells_in(self, cache: jax.Array, at: At) -> jax.Array:
        """What the cache has of the cells at these coarse positions."""
        if isinstance(at, Row):
            return cache
        start = start_indices(0, STRIDE * at.columns_F[0], 0, 0)
        return jax.lax.dynamic_slice(cache, start, (2, STRIDE, *cache.shape[2:]))

    def write(self, cache: jax.Array, at: At, cells: jax.Array) -> jax.Array:
        """The cache with these cells at these coarse positions."""
        if isinstance(at, Row):
            return cells
        start = start_indices(0, STRIDE * at.columns_F[0], 0, 0)
        return jax.lax.dynamic_update_slice(cache, cells, start)

    def read(self, cells: jax.Array, at: At, width: int) -> jax.Array:
        """The outputs at these positions of the finer grid, from their cells."""
        row_of_cell = (at.row if isinstance(at, Row) else at.rows_F[0]) % STRIDE
        row = jax.lax.dynamic_index_in_dim(cells, row_of_cell, keepdims=False)
        if isinstance(at, Row):
            return row[:width]
        return jax.lax.dynamic_slice_in_dim(row, at.columns_F[0] % STRIDE, 1)


def _from_the_right(y_WBC: jax.Array, cells: int) -> jax.Array:
    """What lies so many cells to the right of each of a row's; zeros outside."""
    return jnp.pad(y_WBC[cells:], ((0, cells), (0, 0), (0, 0)))
