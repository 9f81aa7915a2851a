"""The three splits of a named image set, ready to train on."""

from collections.abc import Callable

import numpy as np

from pixelcnn_jax.config import ARRAYS, BATCHES, IMAGES, DataConfig, ModelConfig
from pixelcnn_jax.data import catalogue
from pixelcnn_jax.data.images import brightness, quantize, resize, threshold
from pixelcnn_jax.data.own import open_own
from pixelcnn_jax.data.preparation import own_splits
from pixelcnn_jax.data.sets import TEST_SEED, VALIDATION_SEED, ImageSet, Splits
from pixelcnn_jax.data.source import Images, Source, digits
from pixelcnn_jax.errors import require

SLAB = 1024
"""Images that are resized at a time: bounds the memory that floats take."""


def load(data: DataConfig, model: ModelConfig) -> Splits:
    """The image set of ``data``, resized and quantised to what ``model`` takes.

    The validation images are chosen with a fixed seed, the same for every run.

    Raises:
        UserError: the set is unknown, missing, damaged, has another number of channels
            or of classes, or is too small for the validation images.
    """
    require(
        data.source not in (ARRAYS, BATCHES),
        f"data.source must name a set of images, got {data.source}: this run was"
        f" trained on {data.source} in memory; pass those to likelihood.evaluate",
    )
    if data.source == IMAGES:
        return own_splits(open_own(data), data, model)
    if data.source == "digits":
        source = digits()
    else:
        source = catalogue.load(data.source, data.data_dir)
    _check(source, data, model)
    train, test = _whole_sets(source, data, model)
    order = np.random.default_rng(0).permutation(len(train))
    held_out = np.zeros(len(train), bool)
    held_out[order[: data.validation_images]] = True
    # Drawn for all, so that an image's levels do not depend on how many are held out.
    validation = train.levels(VALIDATION_SEED)[held_out]
    labels = train.labels
    return Splits(
        ImageSet(
            # By a mask: images keep their order, however many are held out.
            train.images[~held_out],
            None if labels is None else labels[~held_out],
            train.brightness,
        ),
        ImageSet(validation, None if labels is None else labels[held_out]),
        ImageSet(test.levels(TEST_SEED), test.labels),
        source.num_classes,
    )


def require_used(data: DataConfig, data_dir: str | None) -> None:
    """Raise if somebody names a folder that ``data`` would not look at."""
    require(
        data.source != IMAGES or data_dir in (None, data.path),
        "data.data_dir is for sets of the catalogue, got"
        f" {data_dir} beside images of your own, {data.path}; leave it out",
    )
    require(
        data.source != "digits" or data_dir is None,
        "data.data_dir must be left out for digits, which ship with scikit-learn, got"
        f" {data_dir}; leave it out",
    )


def _whole_sets(
    source: Source, data: DataConfig, model: ModelConfig
) -> tuple[ImageSet, ImageSet]:
    """The training and the test images, of which none is held out yet."""
    dynamic = data.quantization == "dynamic"

    def convert(pixels: np.ndarray) -> np.ndarray:
        if dynamic:
            return brightness(pixels, source.levels, resized=True)
        if data.threshold is not None:
            return threshold(pixels, data.threshold, source.levels, resized=True)
        return quantize(pixels, model.levels, source.levels, resized=True)

    def fit(images: Images) -> np.ndarray:
        return _fit(images, model.height, model.width, convert)

    return (
        ImageSet(fit(source.train.images), source.train.labels, dynamic),
        ImageSet(fit(source.test.images), source.test.labels, dynamic),
    )


def _check(source: Source, data: DataConfig, model: ModelConfig) -> None:
    channels = source.train.images[0].shape[-1]
    require(
        channels == model.channels,
        f"model.channels must be that of the images of {data.source}, {channels},"
        f" got {model.channels}; set model.channels to {channels}",
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
        f" {classes or '0 (they have no labels)'}, got {model.num_classes}; set"
        f" model.num_classes to {classes}",
    )
    for name, part in (("training", source.train), ("test", source.test)):
        labels = np.unique(np.asarray(part.labels))
        wrong = labels[(labels < 0) | (labels >= classes)]  # -1: kept secret
        require(
            len(wrong) == 0,
            f"the labels of the {name} images of {data.source} must be 0 to"
            f" {classes - 1}, got {wrong[:1]}; choose another set, or set"
            " model.num_classes to 0",
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
