"""What a source gives before anything is resized; the digits."""

import dataclasses
from typing import Any, TypeAlias, cast

import numpy as np

Images = np.ndarray | list[np.ndarray]
"""Pixels ``[N, H, W, C]``, or a list of ``[H, W, C]`` if sizes differ."""

Builder: TypeAlias = Any
"""A builder of TensorFlow Datasets; Any, since importing that package for its types
would take seconds at every start."""


@dataclasses.dataclass(frozen=True)
class Part:
    """The training or the test images of a source, as published."""

    images: Images
    """uint8, values in ``[0, Source.levels)``."""
    labels: np.ndarray | None
    """int32 ``[N]``; None if the source has none."""


@dataclasses.dataclass(frozen=True)
class Source:
    """An image set as published."""

    train: Part
    test: Part
    num_classes: int
    """Classes that a label can name; 0 if there are no labels."""
    levels: int = 256
    """Values that a pixel can take."""


def digits() -> Source:
    """1,500 and 297 digits of the UCI set that scikit-learn ships, values 0 to 16."""
    from sklearn.datasets import load_digits

    pixels, labels = cast(tuple, load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(pixels))
    images = pixels.astype(np.uint8).reshape(-1, 8, 8, 1)[order]
    labels = labels.astype(np.int32)[order]
    train = Part(images[:1500], labels[:1500])
    return Source(train, Part(images[1500:], labels[1500:]), num_classes=10, levels=17)
