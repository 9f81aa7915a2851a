"""A baseline: the book's network in JAX as one would first write it.

Every layer is a `lax.conv_general_dilated` whose kernel is multiplied by a mask, a draw
runs the whole network for every pixel, and all of it is on one device.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

NAME = "plain JAX"

Params = list[tuple[jax.Array, jax.Array]]
"""Kernel ``[K, K, C, D]`` and bias ``[D]`` of each layer in the order of use."""


def params_of(model: Any) -> Params:
    """The weights of our `PixelCNN`, copied; rows that no mask opens are zero."""
    blocks = [x for b in model.blocks for x in (b.reduce, b.spread, b.expand)]
    params = []
    for layer in (model.first, *blocks, *model.head, model.last):
        below = layer.kernel_size // 2
        kernel = jnp.pad(layer.kernel[...], ((0, below), (0, 0), (0, 0), (0, 0)))
        params.append((kernel, jnp.array(layer.bias[...])))
    return params


def causal_mask(kernel_size: int, mask_type: Literal["A", "B"]) -> np.ndarray:
    """float32 ``[K, K, 1, 1]``, for images of one channel."""
    half = kernel_size // 2
    mask = np.zeros((kernel_size, kernel_size, 1, 1), np.float32)
    mask[:half] = 1
    mask[half, : half + (mask_type == "B")] = 1
    return mask


def network(params: Params, images_BHWC: jax.Array) -> jax.Array:
    """Levels ``[B, H, W, 1]`` to logits ``[B, H, W, V]``."""
    first, *rest = params
    levels = params[-1][1].size
    x = jax.nn.relu(_convolve(images_BHWC / levels, first, "A"))
    while len(rest) > 3:
        reduce, spread, expand, *rest = rest
        y = jax.nn.relu(_convolve(x, reduce))
        y = jax.nn.relu(_convolve(y, spread))
        x = x + jax.nn.relu(_convolve(y, expand))
    *head, last = rest
    for layer in head:
        x = jax.nn.relu(_convolve(x, layer))
    return _convolve(x, last)


def _convolve(x, layer, mask_type: Literal["A", "B"] = "B"):
    kernel, bias = layer
    kernel = kernel * causal_mask(len(kernel), mask_type)
    axes = ("NHWC", "HWIO", "NHWC")
    return bias + lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=axes
    )


@jax.jit
def sample(params: Params, key: jax.Array, canvas_BHWC: jax.Array, positions: Any):
    """Draws the first ``positions`` pixels of each image of an empty canvas."""
    width = canvas_BHWC.shape[2]

    def visit(position, images):
        row, column = position // width, position % width
        logits = network(params, images)[:, row, column]
        drawn = jax.random.categorical(jax.random.fold_in(key, position), logits)
        return images.at[:, row, column, 0].set(drawn)

    return lax.fori_loop(0, positions, visit, canvas_BHWC)


def update_with(optimizer: optax.GradientTransformation) -> Callable[..., Any]:
    """One step on a batch: (params, opt_state, images) to the new first two."""

    def loss(params, images_BHWC):
        return optax.softmax_cross_entropy_with_integer_labels(
            network(params, images_BHWC), images_BHWC[..., 0]
        ).mean()

    @jax.jit
    def update(params, opt_state, images_BHWC):
        _, gradients = jax.value_and_grad(loss)(params, images_BHWC)
        changes, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, changes), opt_state

    return update
