"""Where in its image a position is, as features."""

import jax
import jax.numpy as jnp

from pixelcnn_jax.layers.base import At, CausalLayer, Row, Spec


class Coordinates(CausalLayer[jax.Array, jax.Array]):
    """Where a position is: its row and its column, each from -0.5 to 0.5.

    Of the image at hand, whatever the size of those that the model was trained on. Its
    cache is that size, float32 ``[2]``. Its input only tells shapes.
    """

    def __call__(self, x: jax.Array) -> jax.Array:
        """``[2, B, H, W]``."""
        _, batch, height, width = x.shape
        rows, columns = jnp.mgrid[:height, :width]
        found = self._scaled(rows, columns, jnp.array([height, width], jnp.float32))
        return jnp.broadcast_to(found[:, None], (2, batch, height, width))

    @property
    def rows_above(self) -> int | None:
        return 0

    def init_cache(self, spec: Spec) -> jax.Array:
        return jnp.array([spec.height, spec.width], jnp.float32)

    def step(
        self, cache: jax.Array, at: At, x: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """``[F, B, 2]``."""
        if isinstance(at, Row):
            columns = jnp.arange(x.shape[0])
            rows = jnp.broadcast_to(at.row, columns.shape)
        else:
            rows, columns = at.rows_F, at.columns_F
        found = self._scaled(rows, columns, cache).T[:, None]
        return jnp.broadcast_to(found, (*x.shape[:2], 2)), cache

    @staticmethod
    def _scaled(rows: jax.Array, columns: jax.Array, size: jax.Array) -> jax.Array:
        shares = [
            place.astype(size.dtype) / length
            for place, length in zip((rows, columns), size, strict=True)
        ]
        return jnp.stack(shares) - 0.5
