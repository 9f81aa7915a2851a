"""The image sets that flags name."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from pixelcnn_jax import data, hosts
from pixelcnn_jax.config import IMAGES, DataConfig, ModelConfig
from pixelcnn_jax.data import catalogue
from pixelcnn_jax.errors import require


def another_set(
    named: DataConfig, source: str, data_dir: str | None, held_out: int = 0
) -> DataConfig:
    """The settings of another set than a run's, quantised as the run's.

    Args:
        named: the run's.
        source: a set of the catalogue; or your own images, by a path with a / in it or
            ending in .npy or .npz. Of a name with a / in it what is there comes first.
        data_dir: where a set of the catalogue lies.
        held_out: its validation images.

    Raises:
        UserError: the source is neither.
    """
    if _is_path(source):
        return dataclasses.replace(
            named,
            source=IMAGES,
            path=source,
            validation_images=held_out,
            fingerprint=None,
        )
    return dataclasses.replace(
        named,
        source=source,
        data_dir=data_dir,
        validation_images=held_out,
        path=None,
        fit="resize",
        values="auto",
        classes=(),
        fingerprint=None,
    )


def _is_path(source: str) -> bool:
    """Whether it names images of your own, not a set of the catalogue."""
    if source.startswith((".", "/", "~")) or source.endswith((".npy", ".npz")):
        return True
    if "/" not in source:
        require(
            not Path(source).is_dir() or source in catalogue.known_names(),
            "data must be the name of an image set, or a path with a / in it, got"
            f" {source}, which is a folder; pass ./{source}",
        )
        return False
    if os.path.exists(source):
        return True
    # One of several configurations of a set, as emnist/letters.
    require(
        source.split("/")[0] in catalogue.known_names(),
        "data must be the name of an image set, or the path of a file or a folder, got"
        f" {source}, which is not there, and no set of the TensorFlow Datasets"
        " catalogue; pass one of them",
    )
    return False


def read_set(
    named: DataConfig, model: ModelConfig, split: str, *, another: bool
) -> tuple[data.ImageSet, np.ndarray | None]:
    """Images as levels, and how often each class of the model is met in training.

    Args:
        split: "train", "validation" or "test".
        another: whether they are of another set than the run's, which does not tell how
            often classes are met. Your own images that come without splits are then
            taken whole.
    """
    own = data.open_own(named) if named.source == IMAGES else None
    if own is None:
        splits = hosts.first_alone(lambda: data.load(named, model))
    elif own.split is None and another:
        return data.own_set(own, named, model), None
    else:
        splits = data.own_splits(own, named, model)
    parts = {
        "train": (splits.train, data.TRAIN_SEED),
        "validation": (splits.validation, data.VALIDATION_SEED),
        "test": (splits.test, data.TEST_SEED),
    }
    images, seed = parts[split]
    levels = dataclasses.replace(images, images=images.levels(seed), brightness=False)
    labels = splits.train.labels
    if another or labels is None or model.num_classes == 0:
        return levels, None
    return levels, data.class_frequencies(labels, model.num_classes)
