"""The orders in which a walk visits the positions of images."""

import dataclasses

import jax
import jax.numpy as jnp

from pixelcnn_jax.layers import Front


@dataclasses.dataclass(frozen=True)
class Order:
    """The order in which a walk visits the positions of an image.

    Row by row if ``lag`` is None (*raster*). Else each row stays ``lag`` columns behind
    the row above (*wavefront*): a step visits the columns ``step - row * lag`` of all
    rows in which that lies inside the image, with rows counted from ``first_row``.
    """

    height: int
    width: int
    lag: int | None = None
    first_row: int = 0
    """The row where the walk begins, below the image's height: those above are known
    without a visit."""
    period: int = 1
    """If not 1, a walk in raster order is compiled for each place of a square of so
    many rows and columns: what happens only at some of them is known before it runs."""

    @property
    def num_rows(self) -> int:
        """Rows that are visited."""
        return self.height - self.first_row

    @property
    def front_size(self) -> int:
        """Positions of a front: the most rows that a step can visit."""
        # A row begins every `lag` steps and lasts `width` steps.
        return 1 if self.lag is None else min(self.num_rows, -(-self.width // self.lag))

    @property
    def num_steps(self) -> int:
        """Fronts of a walk."""
        if self.lag is None:
            return self.num_rows * self.width
        # The last row begins (rows - 1) * lag steps after the first.
        return self.width + (self.num_rows - 1) * self.lag

    def front(self, step: jax.Array) -> tuple[Front, jax.Array]:
        """The positions of a step, and bool ``[F]``: which of them are in their turn.

        A front always has `front_size` positions. The first and the last steps have
        fewer to visit: the rest repeat positions of this step or of an earlier one.
        """
        if self.lag is None:
            row, column = self.first_row + step // self.width, step % self.width
            return Front(row[None], column[None]), jnp.ones(1, bool)
        # The lowest row that has begun, and those above it.
        lowest = jnp.minimum(step // self.lag, self.num_rows - 1)
        # If fewer have begun, the first row is repeated. It is in its turn each time,
        # and draws the same pixel, since noise goes by position.
        begun_F = jnp.maximum(lowest - jnp.arange(self.front_size), 0)
        columns_F = step - begun_F * self.lag
        inside_F = columns_F < self.width
        # Rows that have ended stay at their last position: every index is valid.
        columns_F = jnp.minimum(columns_F, self.width - 1)
        return Front(self.first_row + begun_F, columns_F), inside_F

    def step_of_positions(self) -> jax.Array:
        """The step at which each position is visited, int ``[H, W]``.

        Negative in rows above ``first_row``.
        """
        rows, columns = jnp.mgrid[: self.height, : self.width]
        behind = self.width if self.lag is None else self.lag
        return columns + (rows - self.first_row) * behind
