"""A baseline: the book's network and its sampling loop in Keras 3 on TensorFlow.

After D. Foster, Generative Deep Learning, 2nd ed., chapter 5. Importing this raises
ImportError where Keras or TensorFlow is not installed.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import keras  # pyright: ignore[reportMissingImports]
import numpy as np
import tensorflow  # pyright: ignore[reportMissingImports, reportMissingModuleSource]
from plain_jax import Params, causal_mask

GPUS = tensorflow.config.list_physical_devices("GPU")
for gpu in GPUS:  # JAX is in the same process
    tensorflow.config.experimental.set_memory_growth(gpu, True)

NAME = "the book's Keras"
if jax.default_backend() != "cpu" and not GPUS:
    NAME += " (on the CPU)"
VERSIONS = {"keras": keras.__version__, "tensorflow": tensorflow.__version__}


class MaskedConv(keras.layers.Conv2D):
    """A convolution whose kernel is multiplied by a causal mask."""

    def __init__(self, filters, kernel_size, mask_type, **options):
        super().__init__(filters, kernel_size, padding="same", **options)
        self.mask = causal_mask(kernel_size, mask_type)

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel * self.mask)


def build(params: Params, height: int, width: int):
    """The network with these weights, compiled for `fit`; softmax at the end."""
    features, levels = params[0][1].size, params[-1][1].size
    inputs = keras.Input((height, width, 1))
    x = MaskedConv(features, 7, "A", activation="relu")(inputs)
    for _ in range((len(params) - 4) // 3):
        y = keras.layers.Conv2D(features // 2, 1, activation="relu")(x)
        y = MaskedConv(features // 2, 3, "B", activation="relu")(y)
        y = keras.layers.Conv2D(features, 1, activation="relu")(y)
        x = keras.layers.add([x, y])
    for _ in range(2):
        x = MaskedConv(features, 1, "B", activation="relu")(x)
    outputs = keras.layers.Conv2D(levels, 1, activation="softmax")(x)
    network = keras.Model(inputs, outputs)
    network.compile(
        keras.optimizers.Adam(5e-4), keras.losses.SparseCategoricalCrossentropy()
    )
    network.set_weights([np.asarray(x) for layer in params for x in layer])
    return network


def sample(network, num_images: int, positions: int) -> np.ndarray:
    """The book's loop over the first ``positions`` pixels, at temperature 1.

    Each is drawn in NumPy from a `predict` of the whole batch.
    """
    _, height, width, levels = network.output_shape
    generator = np.random.default_rng()
    images = np.zeros((num_images, height, width, 1), np.float32)
    for position in range(positions):
        row, column = divmod(position, width)
        found = network.predict(images, verbose=0)[:, row, column]
        drawn = [generator.choice(levels, p=p / p.sum()) for p in found]
        images[:, row, column, 0] = np.array(drawn) / levels
    return images
