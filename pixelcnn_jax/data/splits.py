"""The three splits of an image set, ready to train on."""

import dataclasses
from typing import cast

import numpy as np

from pixelcnn_jax.config import DataConfig, PixelCNNConfig
from pixelcnn_jax.data import catalogue
from pixelcnn_jax.data.images import quantize, resize
from pixelcnn_jax.errors import require


@dataclasses.dataclass(frozen=True)
class Splits:
    """Images as levels, each ``[N, H, W, C]``; ``validation`` may be empty."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def load(data: DataConfig, model: PixelCNNConfig) -> Splits:
    """The image set of ``data``, resized and quantised to what ``model`` takes.

    The validation images are chosen with a fixed seed, the same for every run.

    Raises:
        UserError: the set is unknown, missing, damaged, has another number of channels,
            or is too small for the validation images.
    """
    if data.source == "digits":
        train, test, source_levels = *_digits(), 17
    else:
        train, test = catalogue.load(data.source, data.data_dir)
        source_levels = 256
    channels = train[0].shape[-1]
    require(
        channels == model.channels,
        f"model.channels must be that of the images of {data.source}, {channels},"
        f" got {model.channels}; pass --model.channels {channels}",
    )
    require(
        data.validation_images < len(train),
        "data.validation_images must leave images to train on: fewer than"
        f" {len(train)}, got {data.validation_images}; pass fewer",
    )

    def levels(images: catalogue.Images) -> np.ndarray:
        if not isinstance(images, np.ndarray):  # a list: images of different sizes
            resized = [resize(x[None], model.height, model.width) for x in images]
            images = np.concatenate([x.astype(np.float32) for x in resized])
        resized = resize(images, model.height, model.width)
        return quantize(resized, model.levels, source_levels)

    train = levels(train)
    order = np.random.default_rng(0).permutation(len(train))
    held_out = np.zeros(len(train), bool)
    held_out[order[: data.validation_images]] = True
    return Splits(train[~held_out], train[held_out], levels(test))


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """1,500 and 297 digits of the UCI set that scikit-learn ships, values 0 to 16."""
    from sklearn.datasets import load_digits

    pixels, _ = cast(tuple, load_digits(return_X_y=True))
    images = pixels.astype(np.uint8).reshape(-1, 8, 8, 1)
    images = images[np.random.default_rng(0).permutation(len(images))]
    return images[:1500], images[1500:]


def batch_order(seed: int, epoch: int, num_images: int, batch_size: int) -> np.ndarray:
    """Which images make up each batch of an epoch.

    Every image once, in an order that depends on seed and epoch alone.

    Returns:
        int32 ``[batches, batch_size]``; the last batch is filled up with -1.
    """
    order = np.random.default_rng((seed, epoch)).permutation(num_images)
    num_batches = -(-num_images // batch_size)
    filled = np.full(num_batches * batch_size, -1, np.int32)
    filled[:num_images] = order
    return filled.reshape(num_batches, batch_size)
