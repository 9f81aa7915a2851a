"""Sets of images in memory."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pixelcnn_jax.config import ModelConfig
from pixelcnn_jax.data.images import binarize
from pixelcnn_jax.data.lazy import Lazy
from pixelcnn_jax.errors import require

TRAIN_SEED = (0, 0, 3)
VALIDATION_SEED = (0, 0, 1)
TEST_SEED = (0, 0, 2)
"""Of levels that are drawn once and for all; three numbers, as no epoch's order has."""


GIVEN = {"labels": "[N]", "condition": "[N, D]", "condition_map": "[N, h, w, D]"}
"""What may be given of images: fields of `ImageSet`, and their shapes."""


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images, what they show, and whether they hold levels or brightness.

    Raises:
        UserError: the images are no such array, or the labels are not one per image.
    """

    images: np.ndarray | Lazy
    """Integers ``[N, H, W, C]``: levels, or 8-bit brightness. Those of large files are
    read as they are asked for."""
    labels: np.ndarray | None = None
    """Integers ``[N]``, the class of each image; None if there are none."""
    brightness: bool = False
    """Whether ``images / 255`` is the probability of level 1 of 2. Training then draws
    the levels anew each time that it meets an image (dynamic binarisation)."""
    condition: np.ndarray | None = None
    """Floats ``[N, D]``, a vector for each image; None if there are none."""
    condition_map: np.ndarray | None = None
    """``[N, h, w, D]``, floats or integers, a map for each image of a height and width
    that divide its own; None if there are none."""

    def __post_init__(self):
        shape = getattr(self.images, "shape", None)
        require(
            shape is not None and len(shape) == 4,
            f"images must be an array [N, H, W, C], got {shape or self.images!r:.80}",
        )
        for name, values in self.given().items():
            require(
                values is None or np.ndim(values) == GIVEN[name].count(",") + 1,
                f"{name} must be {GIVEN[name]}, one per image, got {values!r:.80}",
            )
            require(
                values is None or len(values) == len(self.images),
                f"{name} must be one per image, {len(self.images)}, got"
                f" {0 if values is None else len(values)}; pass as many",
            )
        kind = getattr(getattr(self.labels, "dtype", None), "kind", "i")
        require(
            kind in "biu",
            f"labels must be integers, one per image, got {self.labels!r:.80}; number"
            " the classes from 0",
        )

    def given(self) -> dict[str, np.ndarray | None]:
        """What is given of each image, by the field's name."""
        return {name: getattr(self, name) for name in GIVEN}

    def __len__(self) -> int:
        return len(self.images)

    def levels(self, seed: tuple[int, ...]) -> np.ndarray | Lazy:
        """The levels ``[N, H, W, C]``; with brightness drawn once, from this seed."""
        if not self.brightness:
            return self.images
        if isinstance(self.images, np.ndarray):
            return binarize(self.images, seed)

        def drawn(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
            # From a seed for each, since nobody reads them all in one go.
            each = [
                binarize(x, (*seed, row)) for x, row in zip(images, rows, strict=True)
            ]
            return np.stack(each)

        return self.images.mapped(drawn)

    def first(self, count: int) -> "ImageSet":
        """The first images."""
        return self.choose(slice(count))

    def choose(self, which: slice | np.ndarray) -> "ImageSet":
        """Some of the images, with all that is given of them."""
        given = {
            name: None if values is None else values[which]
            for name, values in self.given().items()
        }
        return dataclasses.replace(self, images=self.images[which], **given)

    def for_model(self, model: ModelConfig) -> "ImageSet":
        """The set as a model takes it: without labels if the model has no classes, and
        so on."""
        takes = (model.num_classes, model.condition_features, model.condition_channels)
        unused = [
            name for name, size in zip(self.given(), takes, strict=True) if not size
        ]
        return dataclasses.replace(self, **dict.fromkeys(unused)) if unused else self


@dataclasses.dataclass(frozen=True)
class Splits:
    """Three sets of images; ``validation`` may be empty.

    With ``data.quantization`` "dynamic", ``train`` holds brightness. The others always
    hold levels.
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    num_classes: int
    """Classes that the labels name; 0 if the source has no labels."""


def classes_in_turn(classes: Sequence[int], count: int) -> np.ndarray | None:
    """Labels int32 ``[count]`` that name the classes one after another, over and over.

    None if there are no classes.
    """
    return np.resize(np.asarray(classes, np.int32), count) if classes else None


def class_frequencies(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The share of each class among ``labels``, to weight classes by.

    Args:
        labels: integers ``[N]`` in ``[0, num_classes)``, at least one.

    Returns:
        float64 ``[num_classes]``, sum 1.

    Raises:
        UserError: there are no labels, or some name no class.
    """
    require(
        len(labels) > 0
        and np.issubdtype(labels.dtype, np.integer)
        and np.min(labels) >= 0
        and np.max(labels) < num_classes,
        f"the labels must be 0 to {num_classes - 1}, at least one, got"
        f" {np.unique(labels)[:20]}; pass the labels of a set of {num_classes} classes",
    )
    return np.bincount(labels, minlength=num_classes) / len(labels)


def batch_order(seed: int, epoch: int, num_images: int, batch_size: int) -> np.ndarray:
    """Which images make up each batch of an epoch.

    Every image once, in an order that depends only on seed and epoch.

    Returns:
        int32 ``[batches, batch_size]``; the last batch is filled up with -1.
    """
    order = np.random.default_rng((seed, epoch)).permutation(num_images)
    num_batches = -(-num_images // batch_size)
    filled = np.full(num_batches * batch_size, -1, np.int32)
    filled[:num_images] = order
    return filled.reshape(num_batches, batch_size)
