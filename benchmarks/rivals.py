"""What our speed is set beside: the book's network in plain JAX and in Keras.

Plain JAX is as one would first write it: each layer a `lax.conv_general_dilated` whose
kernel is multiplied by a mask, a draw runs the whole network for every pixel, all of it
on one device. Keras 3 on TensorFlow runs the network and the loop of D. Foster,
Generative Deep Learning, 2nd ed., chapter 5. All have the same weights.
"""

import itertools
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from machine import Contestant, contestant, part_of_loop

import pixelcnn_jax as pj
from pixelcnn_jax.config import ModelConfig
from pixelcnn_jax.masks import as_square

PLAIN = "plain JAX"
BOOK = "the book's Keras"

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.02}
"""Of probabilities of networks that are to be the same."""

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


# --- plain JAX


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
def plain_sample(
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


def plain_update(
    optimizer: optax.GradientTransformation, dtype: str
) -> Callable[..., Any]:
    """One step on a batch: (params, opt_state, images) to the new first two."""

    def loss(params, images_BHWC):
        return optax.softmax_cross_entropy_with_integer_labels(
            network(params, images_BHWC, dtype), images_BHWC[..., 0]
        ).mean()

    @jax.jit
    def update(params, opt_state, images_BHWC):
        _, gradients = jax.value_and_grad(loss)(params, images_BHWC)
        changes, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, changes), opt_state

    return update


# --- Keras


def import_keras() -> Any:
    """Keras on TensorFlow, or None if one of the two is not installed."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras  # pyright: ignore[reportMissingImports]
        import tensorflow  # pyright: ignore[reportMissingImports, reportMissingModuleSource]
    except ImportError:
        print("no Keras on TensorFlow here: its rows are left out", file=sys.stderr)
        return None
    for gpu in tensorflow.config.list_physical_devices("GPU"):
        # JAX is in the same process.
        tensorflow.config.experimental.set_memory_growth(gpu, True)
    return keras


def keras_network(keras: Any, params: Params, c: ModelConfig) -> Any:
    """The network with these weights, compiled for ``fit``; softmax at the end.

    In bfloat16 as Keras recommends: all layers ``mixed_bfloat16``, the last float32.
    """
    layers = keras.layers
    policy = "float32" if c.dtype == "float32" else f"mixed_{c.dtype}"

    class MaskedConv(layers.Conv2D):
        def __init__(self, filters, kernel_size, mask_type, **options):
            super().__init__(
                filters, kernel_size, padding="same", dtype=policy, **options
            )
            self.mask = causal_mask(kernel_size, mask_type)

        def convolution_op(self, inputs, kernel):
            mask = keras.ops.cast(self.mask, kernel.dtype)
            return super().convolution_op(inputs, kernel * mask)

    conv = partial(layers.Conv2D, kernel_size=1, activation="relu", dtype=policy)
    features, levels = params[0][1].size, params[-1][1].size
    inputs = keras.Input((c.height, c.width, 1))
    x = MaskedConv(features, 7, "A", activation="relu")(inputs)
    for _ in range((len(params) - 4) // 3):
        y = conv(features // 2)(x)
        y = MaskedConv(features // 2, 3, "B", activation="relu")(y)
        y = conv(features)(y)
        x = layers.Add(dtype=policy)([x, y])
    for _ in range(2):
        x = MaskedConv(features, 1, "B", activation="relu")(x)
    outputs = layers.Conv2D(levels, 1, activation="softmax", dtype="float32")(x)
    found = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy()
    found.compile(keras.optimizers.Adam(5e-4), loss)
    found.set_weights([np.asarray(x) for layer in params for x in layer])
    return found


def keras_sample(network: Any, num_images: int, positions: int) -> np.ndarray:
    """The book's loop: each pixel is drawn in NumPy from a ``predict`` of the batch."""
    _, height, width, levels = network.output_shape
    generator = np.random.default_rng()
    images = np.zeros((num_images, height, width, 1), np.float32)
    for position in range(positions):
        row, column = divmod(position, width)
        found = network.predict(images, verbose=0)[:, row, column]
        drawn = [generator.choice(levels, p=p / p.sum()) for p in found]
        images[:, row, column, 0] = np.array(drawn) / levels
    return images


def require_same_network(model: pj.PixelCNN, keras: Any) -> None:
    """Makes sure that all contestants compute the same conditional distributions.

    Raises:
        RuntimeError: one doesn't.
    """
    c, params = model.config, params_of(model)
    images = np.random.default_rng(0).integers(0, c.levels, (4, c.height, c.width, 1))
    with jax.default_matmul_precision("highest"):
        expected = jax.nn.softmax(model(images)[..., 0, :])
        found = {PLAIN: jax.nn.softmax(network(params, jnp.asarray(images), c.dtype))}
    if keras is not None:
        book = keras_network(keras, params, c)
        found[BOOK] = book.predict(images / c.levels, verbose=0)
    for name, probabilities in found.items():
        worst = float(np.abs(np.asarray(probabilities) - np.asarray(expected)).max())
        if not worst < TOLERANCE[c.dtype]:
            raise RuntimeError(f"{name} is off by {worst:.2g} in some probability")


def samplers(
    model: pj.PixelCNN, keras: Any, num_images: int, longest: float
) -> list[Contestant]:
    """The loops over all positions, or over some if all would take too long."""
    c, params = model.config, params_of(model)
    canvas = jnp.zeros((num_images, c.height, c.width, 1), jnp.int32)

    def draw(positions: int, key: jax.Array) -> jax.Array:
        return plain_sample(params, key, canvas, positions, c.dtype)

    found = [part_of_loop(PLAIN, draw, c.height * c.width, longest)]
    if keras is not None:
        book = keras_network(keras, params, c)

        def draw_book(positions: int, key: jax.Array) -> np.ndarray:
            return keras_sample(book, num_images, positions)

        found.append(part_of_loop(BOOK, draw_book, c.height * c.width, longest))
    return found


def trainers(
    model: pj.PixelCNN, keras: Any, windows_NBHWC: np.ndarray, batch_size: int
) -> list[Contestant]:
    """Contestants that train on one window of images after another."""
    works = {PLAIN: _plain_training(model, batch_size)}
    if keras is not None:
        works[BOOK] = _keras_training(model, keras, batch_size)
    found = []
    for name, work in works.items():
        windows = itertools.cycle(windows_NBHWC)
        jax.block_until_ready(work(next(windows)))
        run = partial(lambda work, windows, key: work(next(windows)), work, windows)
        found.append(contestant(name, run))
    return found


def _plain_training(model: pj.PixelCNN, batch_size: int) -> Callable[..., object]:
    optimizer = optax.adam(5e-4, eps=1e-7)
    update, params = plain_update(optimizer, model.config.dtype), params_of(model)
    opt_state = optimizer.init(params)

    def work(images: np.ndarray) -> object:
        nonlocal params, opt_state
        for batch in images.reshape(-1, batch_size, *images.shape[1:]):
            params, opt_state = update(params, opt_state, batch)
        return params

    return work


def _keras_training(
    model: pj.PixelCNN, keras: Any, batch_size: int
) -> Callable[..., object]:
    c = model.config
    book = keras_network(keras, params_of(model), c)

    def work(images: np.ndarray) -> object:
        inputs, targets = images.astype(np.float32) / c.levels, images[..., 0]
        book.fit(inputs, targets, batch_size=batch_size, verbose=0)
        return ()

    return work
