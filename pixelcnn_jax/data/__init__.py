"""Image sets as arrays of levels: where they come from, resize, quantise, batch."""

from pixelcnn_jax.data.images import quantize, resize
from pixelcnn_jax.data.splits import Splits, batch_order, load

__all__ = ["Splits", "batch_order", "load", "quantize", "resize"]
