"""The two doors to training: arrays in memory, and a named source of images."""

import dataclasses
from collections.abc import Sized
from pathlib import Path
from typing import cast

import jax
import numpy as np

from pixelcnn_jax import data, hosts
from pixelcnn_jax.config import ARRAYS, BATCHES, IMAGES, Config, DataConfig
from pixelcnn_jax.data import BatchReader, BatchSource, ImageSet
from pixelcnn_jax.errors import require
from pixelcnn_jax.runs import Run
from pixelcnn_jax.training.keeping import InFolder, InMemory
from pixelcnn_jax.training.loop import Fit, learn

Images = ImageSet | np.ndarray | jax.Array
Labels = np.ndarray | jax.Array


def fit(
    config: Config,
    train: Images | BatchSource,
    validation: Images | None = None,
    *,
    workdir: str | Path | None = None,
    labels: Labels | None = None,
    validation_labels: Labels | None = None,
) -> Fit:
    """Train a model on images in memory, or on batches from elsewhere.

    Args:
        config: the model and how to train it; ``data`` and ``workdir`` are ignored.
        train: levels, integers ``[N, H, W, C]`` in ``[0, levels)``, of the config's
            size; or a `data.ImageSet`, which may hold brightness instead; or a
            `data.BatchSource`, such as a Grain loader, for data that never fit.
        validation: likewise, for the figures of each epoch and the choice of the best
            checkpoint.
        workdir: the run's folder, in which everything is kept as by `train`, for
            `load`; a run that was interrupted goes on if it is given the same arrays
            or the same source. None: nothing is written.
        labels: integers ``[N]``, the classes of ``train``, if that is an array. A model
            without classes needs none.
        validation_labels: those of ``validation``.

    Returns:
        The model after the last epoch, and the figures of each epoch.

    Raises:
        UserError: the images or labels are not what the model takes, the folder can't
            be used, or the likelihood does not stay finite.
    """
    require_config(config)
    in_memory = isinstance(train, ImageSet) or hasattr(train, "__array__")
    if in_memory:
        images = first = _image_set(cast(Images, train), labels)
        _require_no_epochs(config)
    else:
        images, config = _reader(config, cast(BatchSource, train), labels, workdir)
        first = images.peek()
    if validation is None:
        require(
            validation_labels is None,
            "validation_labels need validation images, got none; pass validation too",
        )
        held_out = first.first(0)
    else:
        held_out = _image_set(validation, validation_labels)
    if workdir is None:
        return learn(config, images, held_out, InMemory())
    # Written down, so that nobody takes the run for one on a named set.
    source = DataConfig(
        ARRAYS if in_memory else BATCHES, validation_images=len(held_out)
    )
    config = dataclasses.replace(config, data=source, workdir=str(workdir))
    run = Run(workdir)
    with run.hold(config):
        return learn(config, images, held_out, InFolder(run, config))


def train(config: Config) -> Path:
    """Train a model on a named set of images or on your own, or go on with a run.

    All results are in the folder ``config.workdir``: ``config.json``, ``checkpoints/``,
    ``metrics.csv``, ``timings.csv``, ``curves.png``, ``samples/``, ``tensorboard/``.
    A run that was interrupted goes on from its last checkpoint and ends with the bits
    that it would have had (same machine, package versions and number of devices).

    Returns:
        The run's folder, for `load`.

    Raises:
        UserError: the data or the folder can't be used with this config; see
            `data.load` and `Run.hold`. Or the likelihood does not stay finite.
    """
    require_config(config)
    _require_no_epochs(config)
    data.require_used(config.data, config.data.data_dir)
    own = data.open_own(config.data) if config.data.source == IMAGES else None
    # First, since a run is known by its settings: what the data tell is among them.
    config = config if own is None else data.settled(config, own)
    run = Run(config.workdir)
    with run.hold(config):
        if own is None:
            splits = hosts.first_alone(lambda: data.load(config.data, config.model))
        else:
            splits = data.own_splits(own, config.data, config.model)
        learn(config, splits.train, splits.validation, InFolder(run, config))
    return run.path


def require_config(config: object) -> None:
    """Raise unless ``config`` is a `Config`."""
    require(
        isinstance(config, Config),
        f"config must be a Config, got {type(config).__name__}; make one, or take a"
        " preset",
    )


def _require_no_epochs(config: Config) -> None:
    number = config.training.batches_per_epoch
    require(
        number is None,
        "training.batches_per_epoch is for fit on a source of batches, got"
        f" {number} for images that are counted; leave it out",
    )


def _reader(
    config: Config,
    source: BatchSource,
    labels: Labels | None,
    workdir: str | Path | None,
) -> tuple[BatchReader, Config]:
    """The batches of a source, and the config with their number in an epoch."""
    require(
        hasattr(source, "__iter__"),
        "the training images must be an array, an ImageSet or a source of batches, got"
        f" {type(source).__name__}",
    )
    require(
        labels is None, "labels must be among the batches of a source, got some besides"
    )
    training = config.training
    if training.batches_per_epoch is None and isinstance(source, Sized):
        training = dataclasses.replace(training, batches_per_epoch=len(source))
    reader = BatchReader(source)
    require(
        workdir is None or reader.resumes,
        "the iterator of a source of batches must have get_state and set_state to be"
        f" trained on in {workdir}, and has not; add them, or leave workdir out",
    )
    return reader, dataclasses.replace(config, training=training)


def _image_set(images: Images, labels: Labels | None) -> ImageSet:
    if isinstance(images, ImageSet):
        require(
            labels is None,
            "labels must be left out if the images are an ImageSet, which has its own",
        )
        return images
    classes = None if labels is None else np.asarray(labels)
    return ImageSet(np.asarray(images), classes)
