"""The image sets that flags name."""

import dataclasses
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
            ending in .npy or .npz.
        data_dir: where a set of the catalogue lies.
        held_out: its validation images.
    """
    if "/" not in source and Path(source).is_dir():
        require(
            source in catalogue.known_names(),
            "data must be the name of an image set, or a path with a / in it, got"
            f" {source}, which is a folder; pass ./{source}",
        )
    if "/" in source or source.endswith((".npy", ".npz")):
        return dataclasses.replace(
            named, source=IMAGES, path=source, validation_images=held_out
        )
    return dataclasses.replace(
        named,
        source=source,
        data_dir=data_dir,
        validation_images=held_out,
        path=None,
        fit="resize",
        values="auto",
    )


def read_set(
    named: DataConfig, model: ModelConfig, split: str, *, whole: bool
) -> tuple[data.ImageSet, np.ndarray | None]:
    """Images as levels, and how often each class of the model is met in training.

    Args:
        split: "train", "validation" or "test".
        whole: take all, and no split, of your own images that come without splits.
    """
    own = data.open_own(named) if named.source == IMAGES else None
    if own is not None and own.split is None and whole:
        images = data.own_set(own, named, model)
        return images, _class_weights(images.labels, model.num_classes)
    splits = hosts.first_alone(lambda: data.load(named, model))
    parts = {
        "train": (splits.train, data.TRAIN_SEED),
        "validation": (splits.validation, data.VALIDATION_SEED),
        "test": (splits.test, data.TEST_SEED),
    }
    images, seed = parts[split]
    levels = dataclasses.replace(images, images=images.levels(seed), brightness=False)
    return levels, _class_weights(splits.train.labels, model.num_classes)


def _class_weights(labels: np.ndarray | None, classes: int) -> np.ndarray | None:
    if labels is None or classes == 0:
        return None
    return data.class_frequencies(labels, classes)
