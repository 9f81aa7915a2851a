"""Image sets: where they come from, resize, quantise, split, batch."""

from pixelcnn_jax.data.batches import (
    BatchIterator,
    BatchReader,
    BatchSource,
    as_image_set,
    read_position,
)
from pixelcnn_jax.data.images import binarize, brightness, quantize, resize, threshold
from pixelcnn_jax.data.lazy import Lazy
from pixelcnn_jax.data.own import OwnData, open_own
from pixelcnn_jax.data.preparation import (
    labelled_alike,
    own_set,
    own_splits,
    settled,
)
from pixelcnn_jax.data.sets import (
    TEST_SEED,
    TRAIN_SEED,
    VALIDATION_SEED,
    ImageSet,
    Splits,
    batch_order,
    class_frequencies,
    classes_in_turn,
)
from pixelcnn_jax.data.splits import load, require_used

__all__ = [
    "TEST_SEED",
    "TRAIN_SEED",
    "VALIDATION_SEED",
    "BatchIterator",
    "BatchReader",
    "BatchSource",
    "ImageSet",
    "Lazy",
    "OwnData",
    "Splits",
    "as_image_set",
    "batch_order",
    "binarize",
    "brightness",
    "class_frequencies",
    "classes_in_turn",
    "labelled_alike",
    "load",
    "open_own",
    "own_set",
    "own_splits",
    "quantize",
    "read_position",
    "require_used",
    "resize",
    "settled",
    "threshold",
]
