"""Ancestral sampling: whole batches of images, each in one compiled program.

The noise of a pixel depends on the key, the index of the image in the job and the
position alone, so every method, batch size and order of visit draws the same images, up
to ties of two levels within float rounding.
"""

import math
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.core import Tracer

from pixelcnn_jax.errors import require
from pixelcnn_jax.layers import Front

Method = Literal["full", "cached"]
METHODS: tuple[Method, ...] = ("full", "cached")


def sample(
    model: Any,
    key: jax.Array,
    num_images: int,
    *,
    temperature: float | jax.Array = 1.0,
    method: Method = "cached",
    batch_size: int | None = None,
) -> jax.Array:
    """Draw images from the model.

    All batches run in one XLA program without a host round trip. Works inside ``jit``
    (``num_images``, ``method`` and ``batch_size`` are static) and does not compile
    again for another key, temperature or weights.

    Args:
        model: a model of this package, such as `PixelCNN`.
        key: a key of ``jax.random.key``.
        num_images: how many, N >= 1.
        temperature: divides the logits; 1 samples the model, 0 takes the likeliest
            level of each channel.
        method: "cached" computes one position's features a step and is the one to use;
            "full" runs the whole network for every position, the textbook's loop and
            the reference.
        batch_size: images drawn at a time, which bounds memory; None: all. The images
            do not depend on it.

    Returns:
        int32 ``[N, H, W, C]`` in ``[0, levels)``.

    Raises:
        UserError: a number below 1, a negative or undefined temperature, an unknown
            method.
    """
    batch_size = num_images if batch_size is None else batch_size
    for name, value in (("num_images", num_images), ("batch_size", batch_size)):
        require(value >= 1, f"{name} must be at least 1, got {value}; try 1")
    require(
        method in METHODS,
        f"the method must be one of {', '.join(METHODS)}, got {method}",
    )
    if not isinstance(temperature, Tracer):
        require(
            bool(temperature >= 0 and temperature < math.inf),
            "the temperature must be a number of at least 0,"
            f" got {temperature}; 1 samples the model",
        )
    graph, params = nnx.split(model)
    batch_size = min(batch_size, num_images)
    return _sample(graph, params, key, temperature, num_images, batch_size, method)


@partial(jax.jit, static_argnums=(0, 4, 5, 6))
def _sample(graph, params, key, temperature, num_images, batch_size, method):
    model = nnx.merge(graph, params)
    draw_batch = {"full": draw_full, "cached": draw_cached}[method]
    num_batches = -(-num_images // batch_size)
    indices = jnp.arange(num_batches * batch_size).reshape(num_batches, batch_size)

    def one_batch(index_B):
        return draw_batch(model, image_keys(key, index_B), temperature)

    if num_batches == 1:
        return one_batch(indices[0])
    images = lax.map(one_batch, indices)
    return images.reshape(-1, *images.shape[2:])[:num_images]


def image_keys(key: jax.Array, index_B: jax.Array) -> jax.Array:
    """The key of each image from its index in the job, ``[B]``."""
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(index_B)


def pixel_keys(keys_B: jax.Array, position_F: jax.Array) -> jax.Array:
    """The keys of the pixels at positions ``row * W + column``, ``[F, B]``."""
    fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
    return jax.vmap(fold, in_axes=(None, 0))(keys_B, position_F)


def draw_full(model: Any, keys_B: jax.Array, temperature: Any) -> jax.Array:
    """One batch with a whole image pass for every position and channel step."""
    height, width = model.config.height, model.config.width
    distribution = model.distribution
    images = jnp.zeros((len(keys_B), height, width, model.config.channels), jnp.int32)

    def visit(position, images):
        row, column = position // width, position % width
        keys = pixel_keys(keys_B, position[None])[0]
        for step in range(distribution.steps_per_pixel):
            logits = model(images)[:, row, column]
            pixels = distribution.draw(
                keys, logits, images[:, row, column], step, temperature
            )
            images = images.at[:, row, column].set(pixels)
        return images

    return lax.fori_loop(0, height * width, visit, images)


def draw_cached(model: Any, keys_B: jax.Array, temperature: Any) -> jax.Array:
    """One batch with one position's features a step."""
    height, width, channels = (
        model.config.height,
        model.config.width,
        model.config.channels,
    )
    distribution = model.distribution
    canvas = jnp.zeros((height * width, len(keys_B), channels), jnp.int32)

    def visit(position, state):
        canvas, caches = state
        position_F = position[None]
        front = Front(position_F // width, position_F % width)
        keys = pixel_keys(keys_B, position_F)
        pixels = jnp.zeros((1, *canvas.shape[1:]), jnp.int32)
        for step in range(distribution.steps_per_pixel):
            logits, caches = model.step(caches, front)
            pixels = distribution.draw(keys, logits, pixels, step, temperature)
            caches = model.observe(caches, pixels, front)
        return canvas.at[position_F].set(pixels), caches

    state = (canvas, model.init_caches(len(keys_B), width))
    canvas, _ = lax.fori_loop(0, height * width, visit, state)
    images = canvas.reshape(height, width, *canvas.shape[1:])
    return images.transpose(2, 0, 1, 3)
