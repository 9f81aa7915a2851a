"""Image sets as arrays of levels: where they come from, resize, quantise, batch."""

from pixelcnn_jax.data.images import binarize, brightness, quantize, resize
from pixelcnn_jax.data.splits import (
    ImageSet,
    Splits,
    batch_order,
    class_frequencies,
    load,
)

__all__ = [
    "ImageSet",
    "Splits",
    "batch_order",
    "binarize",
    "brightness",
    "class_frequencies",
    "load",
    "quantize",
    "resize",
]
