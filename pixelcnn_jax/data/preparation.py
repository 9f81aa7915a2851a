"""Images of your own as a model takes them: inferred settings, splits, conversion."""

import dataclasses
import math
import sys
from collections.abc import Callable
from functools import partial

import numpy as np

from pixelcnn_jax.config import FROM_DATA, Config, DataConfig, ModelConfig
from pixelcnn_jax.data.array_files import SLAB_BYTES
from pixelcnn_jax.data.images import brightness, quantize, threshold
from pixelcnn_jax.data.lazy import Lazy
from pixelcnn_jax.data.own import OwnData
from pixelcnn_jax.data.sets import TEST_SEED, VALIDATION_SEED, ImageSet, Splits
from pixelcnn_jax.data.sizing import sized
from pixelcnn_jax.errors import require

IN_MEMORY_BYTES = 2**28
"""Of the images of a part, as the model takes them: larger parts are read from the disk
as they are asked for."""


def settled(config: Config, own: OwnData) -> Config:
    """The config with what it leaves to the data: sizes, levels, classes, held out.

    Raises:
        UserError: what is given contradicts the data.
    """
    data, model, pixels = config.data, config.model, own.pixels
    size = own.least_size() if data.fit == "crop" else own.common_size()
    if pixels.codes:
        levels = pixels.levels
    else:
        two = data.threshold is not None or data.quantization == "dynamic"
        levels = 2 if two else 256
    found = {
        "height": size[0],
        "width": size[1],
        "channels": pixels.channels,
        "levels": levels,
        **own.conditions(),
    }
    model = model.with_data(**{name: found[name] for name in model.unknown})
    _tell_of_widths(config.model, model)
    if data.validation_images == FROM_DATA:
        data = dataclasses.replace(data, validation_images=_tenth(own))
    require(
        bool(own.classes) or not data.classes,
        f"data.classes are the names of sub-folders, and {own.path} has none, got"
        f" {', '.join(data.classes)}; leave them out",
    )
    data = dataclasses.replace(
        data,
        classes=data.classes or own.classes,
        fingerprint=data.fingerprint or own.fingerprint,
    )
    check(own, data, model)
    return dataclasses.replace(config, data=data, model=model)


def _tell_of_widths(former: ModelConfig, model: ModelConfig) -> None:
    for field in dataclasses.fields(former):
        was, is_now = (getattr(x, field.name) for x in (former, model))
        if was not in (is_now, FROM_DATA):
            print(
                f"model.{field.name} becomes {is_now} instead of {was}, for"
                f" {model.channels} channels",
                file=sys.stderr,
            )


def _tenth(own: OwnData) -> int:
    """Images held out for validation if nobody says how many."""
    if own.split is None:
        return len(own) // 10
    given = int((own.split == 1).sum())
    return given or int((own.split == 0).sum()) // 10


def check(own: OwnData, data: DataConfig, model: ModelConfig) -> None:
    """Raise `UserError` unless the data can be brought to what the model takes."""
    pixels, size = own.pixels, (model.height, model.width)
    if pixels.codes:
        _check_codes(own, data, model)
    require(
        pixels.channels == model.channels
        or (not pixels.codes and {pixels.channels, model.channels} == {1, 3}),
        f"model.channels must be that of the images of {own.path}, {pixels.channels},"
        f" got {model.channels}; set model.channels to {pixels.channels}",
    )
    if data.fit == "crop":
        small = (pixels.sizes < size).any(axis=1)
        row = int(small.argmax())
        require(
            not small.any(),
            f"{pixels.name(row)} must have at least {size[0]} x {size[1]} pixels, to be"
            f" cut to model.height and model.width, got {pixels.sizes[row][0]} x"
            f" {pixels.sizes[row][1]}; lower those, or set data.fit to resize",
        )
    if model.num_classes > 0:
        _check_classes(own, data, model)


def labelled_alike(own: OwnData, data: DataConfig, model: ModelConfig) -> bool:
    """Whether labels that are a folder's mean what they meant in training."""
    # Runs before 0.2.0 kept no names: some of the classes would be numbered otherwise.
    of_old = not data.classes and len(own.classes) == model.num_classes
    return not own.classes or own.classes == data.classes or of_old


def _check_classes(own: OwnData, data: DataConfig, model: ModelConfig) -> None:
    classes = own.num_classes
    require(
        classes > 0,
        f"the images of {own.path} must have labels for a model of"
        f" {model.num_classes} classes, got none; put them into sub-folders by class,"
        " save labels beside them, or set model.num_classes to 0 when you train",
    )
    require(
        classes <= model.num_classes,
        f"model.num_classes must be at least that of the images of {own.path},"
        f" {classes}, got {model.num_classes}; set model.num_classes to"
        f" {classes} when you train",
    )
    require(
        labelled_alike(own, data, model),
        f"the sub-folders of {own.path} must have the names of the classes in training,"
        f" {', '.join(data.classes) or f'all {model.num_classes}'}, got"
        f" {', '.join(own.classes)}; rename them",
    )


def _check_codes(own: OwnData, data: DataConfig, model: ModelConfig) -> None:
    levels, (height, width) = own.pixels.levels, own.common_size()
    require(
        (height, width) == (model.height, model.width),
        f"{own.path} holds codes of {height} x {width}, which can't be resized or cut,"
        f" and model.height and model.width are {model.height} and {model.width}; set"
        " those to the codes', or data.values to pixels if they are brightness",
    )
    require(
        levels <= model.levels,
        f"model.levels must be above the largest code of {own.path}, {levels - 1}, got"
        f" {model.levels}; set model.levels to {levels} when you train",
    )
    require(
        data.threshold is None and data.quantization == "bins",
        f"data.threshold and data.quantization dynamic need brightness, and {own.path}"
        " holds codes; leave them out, or set data.values to pixels",
    )


def own_splits(own: OwnData, data: DataConfig, model: ModelConfig) -> Splits:
    """The three splits of images of your own.

    By the folders or the array that say which image is in which; else a tenth of the
    images, chosen with a fixed seed, is for tests. Validation images that are not given
    are held out of the training images.

    Raises:
        UserError: the data can't be brought to what the model takes.
    """
    check(own, data, model)
    _require_the_same(own, data)
    train, validation, test = _rows(own, data)
    make = partial(_part, own, data, model)
    return Splits(
        make(train),
        _drawn(make(validation), VALIDATION_SEED),
        _drawn(make(test), TEST_SEED),
        model.num_classes or own.num_classes,
    )


def _require_the_same(own: OwnData, data: DataConfig) -> None:
    """Raise if the images are not those that the splits were made of."""
    if data.fingerprint is None:  # of a run before there were any
        return
    require(
        data.fingerprint == own.fingerprint,
        f"the images of {own.path} must be those that the training began with, by their"
        f" names and sizes: data.fingerprint {data.fingerprint}, got {own.fingerprint};"
        " restore them, or take them as another set: evaluate.py --data",
    )


def own_set(own: OwnData, data: DataConfig, model: ModelConfig) -> ImageSet:
    """All images of your own as one set, with levels drawn as for tests.

    Raises:
        UserError: they can't be brought to what the model takes.
    """
    check(own, data, model)
    return _drawn(_part(own, data, model, np.arange(len(own))), TEST_SEED)


def _rows(own: OwnData, data: DataConfig) -> list[np.ndarray]:
    """The rows of the training, the validation and the test images, ascending."""
    split = np.zeros(len(own), np.int8) if own.split is None else own.split.copy()
    order = np.random.default_rng(0).permutation(len(own))
    if own.split is None:
        split[order[: len(own) // 10]] = 2
    if not (split == 1).any():
        left = order[split[order] == 0]
        require(
            data.validation_images < len(left),
            "data.validation_images must leave images to train on: fewer than"
            f" {len(left)}, got {data.validation_images}; pass fewer",
        )
        split[left[: data.validation_images]] = 1
    return [np.flatnonzero(split == part) for part in range(3)]


def _drawn(images: ImageSet, seed: tuple[int, ...]) -> ImageSet:
    """The set with its levels drawn once and for all."""
    return dataclasses.replace(images, images=images.levels(seed), brightness=False)


def _part(
    own: OwnData, data: DataConfig, model: ModelConfig, rows: np.ndarray
) -> ImageSet:
    """The images of these rows: in memory if they are few, else read on demand."""
    convert = _conversion(own, data, model)
    shape = (model.height, model.width, model.channels)
    # As many at a time as fit, of the largest: as floats of two sizes.
    pixels = max(math.prod(own.greatest_size()), model.height * model.width)
    channels = max(own.pixels.channels, model.channels)
    step = max(1, SLAB_BYTES // (8 * pixels * channels))

    def read(rows: np.ndarray) -> np.ndarray:
        found = np.empty((len(rows), *shape), dtype)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            images = sized(own.pixels.read(part), shape, data.fit)
            found[start : start + step] = convert(images)
        return found

    dtype = convert(np.zeros((1, 1, 1, 1), np.uint8)).dtype
    lazy = Lazy(read, rows, shape, dtype)
    return ImageSet(
        lazy[:] if lazy.nbytes <= IN_MEMORY_BYTES else lazy,
        brightness=data.quantization == "dynamic",
        **{name: array[rows] for name, array in own.given.items()},
    )


def _conversion(
    own: OwnData, data: DataConfig, model: ModelConfig
) -> Callable[[np.ndarray], np.ndarray]:
    """From values of the source to what the model is trained on."""
    levels = own.pixels.levels
    if own.pixels.codes:
        return lambda codes: codes.astype(np.min_scalar_type(model.levels - 1))
    of_source = {"source_levels": levels, "resized": True}
    if data.quantization == "dynamic":
        return partial(brightness, **of_source)
    if data.threshold is not None:
        return partial(threshold, share=data.threshold, **of_source)
    return partial(quantize, levels=model.levels, **of_source)
