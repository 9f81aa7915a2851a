"""Image sets: where they come from, resize, quantise, split, batch."""

from pixelcnn_jax.data.images import binarize, brightness, quantize, resize
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
from pixelcnn_jax.data.splits import load

__all__ = [
    "TEST_SEED",
    "TRAIN_SEED",
    "VALIDATION_SEED",
    "ImageSet",
    "Splits",
    "batch_order",
    "binarize",
    "brightness",
    "class_frequencies",
    "classes_in_turn",
    "load",
    "quantize",
    "resize",
]
