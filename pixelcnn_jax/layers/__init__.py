"""Causal layers, each with one body that serves all passes.

The *image pass* computes all positions of an image at once; a position's context is cut
out of the zero-padded input. The *step* computes one front of positions, the *row pass*
one row; their context is read from an activation cache. The passes differ in where the
context comes from and in nothing else: `CausalConv.product` is the only arithmetic, and
composites are written once, over a `Pass` that says how a causal layer is applied.
"""

from pixelcnn_jax.layers.blocks import ClassBias, GatedLayer, ResidualBlock
from pixelcnn_jax.layers.caches import Cache, Front
from pixelcnn_jax.layers.causal import CausalConv
from pixelcnn_jax.layers.passes import ImagePass, Pass, RowPass, StepPass, image_pass

__all__ = [
    "Cache",
    "CausalConv",
    "ClassBias",
    "Front",
    "GatedLayer",
    "ImagePass",
    "Pass",
    "ResidualBlock",
    "RowPass",
    "StepPass",
    "image_pass",
]
