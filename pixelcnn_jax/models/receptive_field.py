"""What a network can see, measured."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pixelcnn_jax.config import ModelConfig
from pixelcnn_jax.layers import Conditions, ImagePass
from pixelcnn_jax.models.base import PixelModel


def receptive_field(model: PixelModel, rows: Sequence[int] | None = None) -> np.ndarray:
    """Which inputs each output depends on, by the Jacobian of the network.

    The weights are replaced by small positive ones and the input is positive, so that
    no ReLU is dead, no gate saturates and nothing cancels.

    Args:
        rows: compute only these rows of outputs, leaving the rest False; None: all.

    Returns:
        bool ``[H, W, C, H, W, C]``: whether the output for a channel at a position
        depends on a channel at another. C is 1 if the output distribution, not the
        masks, carries the channels' order. What is earlier in raster order and still
        False is the *blind spot*.
    """
    c = model.config
    graph, state = nnx.split(model)
    # By NumPy: JAX would compile three programs for each shape of a weight.
    weights = jax.tree.map(lambda w: 0.1 * np.abs(np.asarray(w)) + 0.01, state)
    positive = nnx.merge(graph, weights)
    shape = (c.height, c.width, c.channels)
    top = c.levels - 1
    x_HWC = jax.random.uniform(jax.random.key(0), shape, minval=0.6 * top, maxval=top)
    return dependence(positive, x_HWC, rows) != 0


def dependence(
    model: PixelModel, x_HWC: jax.Array, rows: Sequence[int] | None = None
) -> np.ndarray:
    """How strongly each output moves with what is read of each pixel: |derivatives|,
    summed over the numbers that describe one channel, read and put out; shaped as
    `receptive_field`.

    Args:
        x_HWC: an image, its levels as floats.
    """
    c, ordered = model.config, model.distribution.ordered_channels
    graph, params = nnx.split(model)
    moves = np.zeros((c.height, c.width, ordered, c.height, c.width, ordered))
    # One row at a time, to save memory; as an array, so that there is one program.
    for row in range(c.height) if rows is None else rows:
        of_row = np.asarray(_jacobian(graph, params, x_HWC, jnp.int32(row)))
        of_row = of_row.sum(2)  # over the numbers of a channel
        moves[row] = of_row if ordered == c.channels else of_row.sum(-1, keepdims=True)
    return moves


@partial(jax.jit, static_argnums=0)
def _jacobian(
    graph: nnx.GraphDef[PixelModel],
    params: nnx.State,
    x_HWC: jax.Array,
    row: jax.Array,
) -> jax.Array:
    """|Derivatives| ``[W, C, numbers, H, W, C]`` of a row's outputs."""
    model = nnx.merge(graph, params)
    read = model.reader(_some_conditions(model.config), *x_HWC.shape[:2])

    def outputs(x_CBHW: jax.Array) -> jax.Array:
        apply = ImagePass()
        above = model.vertical(x_CBHW, read, apply)
        raw_PW = model.network(x_CBHW, above, read, apply)[:, 0, row]
        ordered = model.distribution.ordered_channels
        return jnp.moveaxis(raw_PW.reshape(ordered, -1, raw_PW.shape[-1]), -1, 0)

    x_CBHW = jnp.moveaxis(model.encode(x_HWC[None]), -1, 0)
    moves = jnp.abs(jax.jacrev(outputs)(x_CBHW))[..., 0, :, :]
    # Without what tells pixels from none.
    moves = moves[..., : model.config.input_features, :, :]
    shape = (*moves.shape[:3], model.config.channels, -1, *moves.shape[4:])
    return jnp.moveaxis(moves.reshape(shape).sum(4), 3, -1)


def _some_conditions(config: ModelConfig) -> Conditions:
    """Conditions of one image, the same everywhere."""
    vector, channels = config.condition_features, config.condition_channels
    dtype = jnp.int32 if config.condition_levels else jnp.float32
    return Conditions(
        jnp.zeros(1, jnp.int32) if config.num_classes else None,
        jnp.ones((1, vector)) if vector else None,
        jnp.ones((1, 1, 1, channels), dtype) if channels else None,
    )
