"""What our speed is set beside: the book's network in plain JAX and in Keras.

All have the same weights and the same number type of products.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import book_keras
import jax
import jax.numpy as jnp
import numpy as np
import optax
import plain_jax
from machine import Contestant, contestant, part_of_loop

import pixelcnn_jax as pj

PLAIN = "plain JAX"
BOOK = "the book's Keras"

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.02}
"""Of probabilities of networks that are to be the same."""


def require_same_network(model: pj.PixelCNN, keras: Any) -> None:
    """Makes sure that all contestants compute the same conditional distributions.

    Raises:
        RuntimeError: one doesn't.
    """
    c, params = model.config, plain_jax.params_of(model)
    images = np.random.default_rng(0).integers(0, c.levels, (4, c.height, c.width, 1))
    with jax.default_matmul_precision("highest"):
        expected = jax.nn.softmax(model(images)[..., 0, :])
        logits = plain_jax.network(params, jnp.asarray(images), c.dtype)
        found = {PLAIN: jax.nn.softmax(logits)}
    if keras is not None:
        book = book_keras.network(keras, params, c)
        found[BOOK] = book.predict(images / c.levels, verbose=0)
    for name, probabilities in found.items():
        worst = float(np.abs(np.asarray(probabilities) - np.asarray(expected)).max())
        if not worst < TOLERANCE[c.dtype]:
            raise RuntimeError(f"{name} is off by {worst:.2g} in some probability")


def samplers(
    model: pj.PixelCNN, keras: Any, num_images: int, longest: float
) -> list[Contestant]:
    """The loops over all positions, or over some if all would take too long."""
    c, params = model.config, plain_jax.params_of(model)
    canvas = jnp.zeros((num_images, c.height, c.width, 1), jnp.int32)

    def draw(positions: int, key: jax.Array) -> jax.Array:
        return plain_jax.sample(params, key, canvas, positions, c.dtype)

    found = [part_of_loop(PLAIN, draw, c.height * c.width, longest)]
    if keras is not None:
        book = book_keras.network(keras, params, c)

        def draw_book(positions: int, key: jax.Array) -> np.ndarray:
            return book_keras.sample(book, num_images, positions)

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
    update = plain_jax.update(optimizer, model.config.dtype)
    params = plain_jax.params_of(model)
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
    book = book_keras.network(keras, plain_jax.params_of(model), c)

    def work(images: np.ndarray) -> object:
        inputs, targets = images.astype(np.float32) / c.levels, images[..., 0]
        book.fit(inputs, targets, batch_size=batch_size, verbose=0)
        return ()

    return work
