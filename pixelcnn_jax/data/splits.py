"""The three splits of an image set, ready to train on."""

import dataclasses
from collections.abc import Callable
from typing import cast

import numpy as np

from pixelcnn_jax.config import DataConfig, ModelConfig
from pixelcnn_jax.data import catalogue
from pixelcnn_jax.data.images import binarize, brightness, quantize, resize
from pixelcnn_jax.data.source import Images, Source, digits
from pixelcnn_jax.errors import require

SLAB = 1024
"""Images that are resized at a time: bounds the memory that floats take."""

VALIDATION_SEED = (0, 0, 1)
TEST_SEED = (0, 0, 2)
"""Of the levels of dynamic binarisation; three numbers, as no epoch's order has."""


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images and what they show."""

    images: np.ndarray
    """Integers ``[N, H, W, C]``."""
    labels: np.ndarray | None
    """int32 ``[N]``; None where the source has none."""

    def __len__(self) -> int:
        return len(self.images)


@dataclasses.dataclass(frozen=True)
class Splits:
    """Three sets of images as levels; ``validation`` may be empty.

    With ``data.quantization`` "dynamic", ``train`` alone holds uint8 brightness, 0 to
    255, in the place of levels: ``brightness / 255`` is the probability of level 1, to
    be drawn each time that training meets the image.
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    num_classes: int
    """Classes that the labels name; 0 where the source has no labels."""


def load(data: DataConfig, model: ModelConfig) -> Splits:
    """The image set of ``data``, resized and quantised to what ``model`` takes.

    The validation images are chosen with a fixed seed, the same for every run.

    Raises:
        UserError: the set is unknown, missing, damaged, has another number of channels
            or of classes, or is too small for the validation images.
    """
    if data.source == "digits":
        source = digits()
    else:
        source = catalogue.load(data.source, data.data_dir)
    _check(source, data, model)
    dynamic = data.quantization == "dynamic"

    def convert(pixels: np.ndarray) -> np.ndarray:
        if dynamic:
            return brightness(pixels, source.levels)
        return quantize(pixels, model.levels, source.levels)

    train = _fit(source.train.images, model.height, model.width, convert)
    test = _fit(source.test.images, model.height, model.width, convert)
    order = np.random.default_rng(0).permutation(len(train))
    held_out = np.zeros(len(train), bool)
    held_out[order[: data.validation_images]] = True
    if dynamic:
        # Drawn for all, so that an image's levels do not hang on how many are held out.
        validation = binarize(train, VALIDATION_SEED)[held_out]
        test = binarize(test, TEST_SEED)
    else:
        validation = train[held_out]
    labels = source.train.labels
    return Splits(
        ImageSet(train[~held_out], None if labels is None else labels[~held_out]),
        ImageSet(validation, None if labels is None else labels[held_out]),
        ImageSet(test, source.test.labels),
        source.num_classes,
    )


def _check(source: Source, data: DataConfig, model: ModelConfig) -> None:
    channels = source.train.images[0].shape[-1]
    require(
        channels == model.channels,
        f"model.channels must be that of the images of {data.source}, {channels},"
        f" got {model.channels}; pass --model.channels {channels}",
    )
    require(
        data.validation_images < len(source.train.images),
        "data.validation_images must leave images to train on: fewer than"
        f" {len(source.train.images)}, got {data.validation_images}; pass fewer",
    )
    if model.num_classes == 0:
        return
    classes = source.num_classes
    require(
        classes == model.num_classes,
        f"model.num_classes must be that of the images of {data.source},"
        f" {classes or '0 (they have no labels)'}, got {model.num_classes}; pass"
        f" --model.num-classes {classes}",
    )
    for name, part in (("training", source.train), ("test", source.test)):
        labels = np.unique(cast(np.ndarray, part.labels))
        wrong = labels[(labels < 0) | (labels >= classes)]  # -1: kept secret
        require(
            len(wrong) == 0,
            f"the labels of the {name} images of {data.source} must be 0 to"
            f" {classes - 1}, got {wrong[:1]}; choose another set, or pass"
            " --model.num-classes 0",
        )


def _fit(
    images: Images,
    height: int,
    width: int,
    convert: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Resized and converted, a slab at a time."""
    slabs = []
    for start in range(0, len(images), SLAB):
        slab = images[start : start + SLAB]
        if isinstance(slab, np.ndarray):
            pixels = resize(slab, height, width)
        else:  # images of different sizes
            pixels = np.concatenate([resize(x[None], height, width) for x in slab])
        slabs.append(convert(pixels))
    return np.concatenate(slabs)


def class_frequencies(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The share of each class among ``labels``, to weight classes by.

    Args:
        labels: integers ``[N]`` in ``[0, num_classes)``, at least one.

    Returns:
        float64 ``[num_classes]``, sum 1.

    Raises:
        UserError: there are no labels, or some are of no class.
    """
    require(
        len(labels) > 0 and np.min(labels) >= 0 and np.max(labels) < num_classes,
        f"the labels must be 0 to {num_classes - 1}, at least one, got"
        f" {np.unique(labels)[:20]}; pass the labels of a set of {num_classes} classes",
    )
    return np.bincount(labels, minlength=num_classes) / len(labels)


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
