"""Where training images come from: a set that is counted, or batches without end."""

import dataclasses
import zlib
from typing import Protocol

import numpy as np

from pixelcnn_jax import hosts
from pixelcnn_jax.config import Config
from pixelcnn_jax.data import (
    VALIDATION_SEED,
    BatchReader,
    ImageSet,
    Lazy,
    read_position,
)
from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.layers import Conditions
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.models.input_checks import require_conditions, require_images
from pixelcnn_jax.training.streamed import Stream


class Source(Protocol):
    """Training images, as the model takes them."""

    images: ImageSet
    """All of them; or the first batch, which tells what the others are like."""
    per_epoch: int
    """How many are seen in an epoch."""
    stream: Stream | None
    """Where the others come from; None: there are no others."""

    def go_on(self, position: str | None) -> None:
        """Continue a run that kept this position, see `Trainer.position`.

        Raises:
            UserError: it is of other images, or can't be reached.
        """
        ...


def source_of(
    config: Config, model: PixelModel, given: ImageSet | BatchReader, kept: bool
) -> Source:
    """The source of what `learn` is given.

    Args:
        kept: whether positions are kept, for runs that go on.

    Raises:
        UserError: the model can't take the images, or an epoch has no length.
    """
    if isinstance(given, ImageSet):
        return _Counted(suited(model, given, "training"))
    return _Endless(config, model, given, kept)


class _Counted:
    """A set of images, of which each epoch sees each once."""

    stream: Stream | None = None

    def __init__(self, images: ImageSet):
        self.images, self.per_epoch = images, len(images)

    def go_on(self, position: str | None) -> None:
        # Runs before 0.2.0 kept no number.
        number = len(self.images)
        kept = {} if position is None else read_position(position)
        former = kept.get("images", number)
        require(
            former == number,
            "a run goes on only with as many training images as it began with,"
            f" {former}, got {number}; pass those images or another workdir",
        )


class _Endless:
    """Batches of which a number is called an epoch."""

    def __init__(
        self, config: Config, model: PixelModel, reader: BatchReader, kept: bool
    ):
        number = config.training.batches_per_epoch
        if number is None:
            raise UserError(
                "training.batches_per_epoch must be given for a source of batches that"
                " does not tell its length, got none; pass how many batches are an"
                " epoch"
            )
        self._model, self._reader = model, reader
        self.images = _as_taken(model, reader.peek(), "training")
        self.per_epoch = number * config.training.batch_size
        self.stream: Stream | None = Stream(reader, number, self._suit, kept)

    def go_on(self, position: str | None) -> None:
        if position is None:
            raise UserError(
                "a run goes on only if its source of batches tells its position"
                " (get_state), and none was kept; begin in another workdir"
            )
        self._reader.go_to(position)

    def _suit(self, batch: ImageSet) -> ImageSet:
        c, found = self._model.config, _as_taken(self._model, batch, "training")
        # Batches are put together, so those of smaller numbers have no type of theirs.
        kind = np.uint8 if found.brightness else np.min_scalar_type(c.levels - 1)
        map_type = np.int32 if c.condition_levels else np.float32
        maps = found.condition_map
        return dataclasses.replace(
            found,
            images=np.asarray(found.images, kind),
            condition_map=None if maps is None else np.asarray(maps, map_type),
        )


def suited(model: PixelModel, images: ImageSet, name: str) -> ImageSet:
    """The set as the model takes it, which all processes have.

    Brightness stays for training, which draws anew; else it is drawn once.

    Raises:
        UserError: the images have other channels, another size or other levels than the
            model's, or their conditions are not those it takes; or processes have
            others.
    """
    _require_same_everywhere(images, name)
    return _as_taken(model, images, name)


def _require_same_everywhere(images: ImageSet, name: str) -> None:
    """Raise unless all processes have these images, as far as some of them tell."""
    if not hosts.are_several():
        return
    arrays = [images.labels]
    for end in (slice(1), slice(len(images) - 1, None)):
        part = images.choose(end)
        arrays += [np.asarray(part.images), *part.given().values()]
    content = repr((images.images.shape, images.images.dtype.str)).encode()
    content += b"".join(x.tobytes() for x in arrays if x is not None)
    digest = zlib.crc32(content) >> 1  # processes tell each other 31 bits
    hosts.require_everywhere(
        digest == hosts.first_says(digest),
        f"all processes must have the same {name} images, and some have others than the"
        " first; give all hosts the same files",
    )


def _as_taken(model: PixelModel, images: ImageSet, name: str) -> ImageSet:
    config, images = model.config, images.for_model(model.config)
    if images.brightness:
        require(
            config.levels == 2 and images.images.dtype == np.uint8,
            "images of brightness must be uint8, for a model of 2 levels, got"
            f" {images.images.dtype} for {config.levels}; pass levels",
        )
        require_images(model, images.images[:0])  # whose range is that of uint8
    elif isinstance(images.images, Lazy):
        require_images(model, images.images[:1])  # the others were made alike
    else:
        require_images(model, images.images)
    size = images.images.shape[1:3]
    require(
        size == (config.height, config.width),
        f"the {name} images must be {config.height} by {config.width} pixels, as"
        f" model.height and model.width say, got {size[0]} by {size[1]}; resize them or"
        " change the model",
    )
    given = Conditions(**images.given())
    require_conditions(model, given, images.images.shape, all_of_them=True)
    if images.brightness and name != "training":
        drawn = images.levels(VALIDATION_SEED)
        return dataclasses.replace(images, images=drawn, brightness=False)
    return images
