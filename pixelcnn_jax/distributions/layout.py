"""Where a likelihood wants its axes."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def positions_last(
    values: jax.Array, positions: Sequence[int], num_axes: int = 1
) -> jax.Array:
    """Values ``[..., *own]`` as ``[*own, N]``, all positions on one long axis.

    On a CPU, XLA vectorises the last axis, and a pixel's own numbers are few. The
    transpose meets that of `Distribution.outputs`, and the compiler cancels the two.

    Args:
        values: their last ``num_axes`` are their own.
        positions: sizes of the other axes; they are broadcast to these.
    """
    own = values.shape[values.ndim - num_axes :]
    values = jnp.broadcast_to(values, (*positions, *own))
    moved = jnp.moveaxis(values, range(-num_axes, 0), range(num_axes))
    return moved.reshape(*own, -1)
