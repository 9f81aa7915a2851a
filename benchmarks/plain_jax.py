"""The book's network as one would first write it in JAX, on one device.

Each layer is a `lax.conv_general_dilated` whose kernel is multiplied by a mask; a draw
runs the whole network for every pixel.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

import pixelcnn_jax as pj
from pixelcnn_jax.masks import as_square

Params = list[tuple[jax.Array, jax.Array]]
"""Kernel ``[K, K, C, D]`` and bias ``[D]`` of each layer in the order of use."""


def params_of(model: pj.PixelCNN) -> Params:
    """The weights of our `PixelCNN`, copied; taps that no output sees are zero."""
    blocks = [x for b in model.blocks for x in (b.reduce, b.middle, b.expand)]
    return [
        (
            jnp.asarray(as_square(layer.taps, np.asarray(layer.kernel[...]))),
            jnp.array(layer.bias[...]),
        )
        for layer in (model.first, *blocks, *model.head, model.last)
    ]


def causal_mask(kernel_size: int, mask_type: Literal["A", "B"]) -> np.ndarray:
    """float32 ``[K, K, 1, 1]``, for images of one channel."""
    half = kernel_size // 2
    mask = np.zeros((kernel_size, kernel_size, 1, 1), np.float32)
    mask[:half] = 1
    mask[half, : half + (mask_type == "B")] = 1
    return mask


def network(params: Params, images_BHWC: jax.Array, dtype: str) -> jax.Array:
    """Levels ``[B, H, W, 1]`` to float32 logits ``[B, H, W, V]``."""
    params = [(kernel.astype(dtype), bias.astype(dtype)) for kernel, bias in params]
    first, *rest = params
    levels = params[-1][1].size
    x = jax.nn.relu(_convolve((images_BHWC / levels).astype(dtype), first, "A"))
    while len(rest) > 3:
        reduce, middle, expand, *rest = rest
        y = jax.nn.relu(_convolve(x, reduce))
        y = jax.nn.relu(_convolve(y, middle))
        x = x + jax.nn.relu(_convolve(y, expand))
    *head, last = rest
    for layer in head:
        x = jax.nn.relu(_convolve(x, layer))
    return _convolve(x, last).astype(jnp.float32)


def _convolve(x, layer, mask_type: Literal["A", "B"] = "B"):
    kernel, bias = layer
    kernel = kernel * causal_mask(len(kernel), mask_type).astype(kernel.dtype)
    axes = ("NHWC", "HWIO", "NHWC")
    return bias + lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=axes
    )


@partial(jax.jit, static_argnames="dtype")
def sample(
    params: Params, key: jax.Array, canvas_BHWC: jax.Array, positions, dtype: str
):
    """Draws the first ``positions`` pixels of each image of an empty canvas."""
    width = canvas_BHWC.shape[2]

    def visit(position, images):
        row, column = position // width, position % width
        logits = network(params, images, dtype)[:, row, column]
        drawn = jax.random.categorical(jax.random.fold_in(key, position), logits)
        return images.at[:, row, column, 0].set(drawn)

    return lax.fori_loop(0, positions, visit, canvas_BHWC)


def update(optimizer: optax.GradientTransformation, dtype: str) -> Callable[..., Any]:
    """One step on a batch: (params, opt_state, images) to the new first two."""

    def loss(params, images_BHWC):
        return optax.softmax_cross_entropy_with_integer_labels(
            network(params, images_BHWC, dtype), images_BHWC[..., 0]
        ).mean()

    @jax.jit
    def step(params, opt_state, images_BHWC):
        _, gradients = jax.value_and_grad(loss)(params, images_BHWC)
        changes, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, changes), opt_state

    return step
