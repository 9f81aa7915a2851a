"""The network and the loop of D. Foster, Generative Deep Learning, 2nd ed., chapter 5,
in Keras 3 on TensorFlow."""

import os
import sys
from functools import partial
from typing import Any

import numpy as np
from plain_jax import Params, causal_mask

from pixelcnn_jax.config import ModelConfig


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


def network(keras: Any, params: Params, c: ModelConfig) -> Any:
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


def sample(book: Any, num_images: int, positions: int) -> np.ndarray:
    """The book's loop: each pixel is drawn in NumPy from a ``predict`` of the batch."""
    _, height, width, levels = book.output_shape
    generator = np.random.default_rng()
    images = np.zeros((num_images, height, width, 1), np.float32)
    for position in range(positions):
        row, column = divmod(position, width)
        found = book.predict(images, verbose=0)[:, row, column]
        drawn = [generator.choice(levels, p=p / p.sum()) for p in found]
        images[:, row, column, 0] = np.array(drawn) / levels
    return images
