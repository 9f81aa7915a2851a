"""Causal layers, each with one body that serves all passes.

The *image pass* computes all positions of whole images at once. A *step* computes one
front of positions, or one row, and takes the context from the layers' caches. `base`
states the contract of a layer, `passes` how a network's body applies layers, `rings`
how a cache is laid out, `products` the arithmetic that both passes share.
"""

from pixelcnn_jax.layers.attention import Attention, Seen
from pixelcnn_jax.layers.base import (
    NO_CONDITIONS,
    NOTHING_READ,
    AnyLayer,
    At,
    Caches,
    CausalLayer,
    Conditions,
    Front,
    OtherConditions,
    ReadConditions,
    Row,
    Spec,
)
from pixelcnn_jax.layers.blocks import GatedLayer, MakeConv, ResidualBlock
from pixelcnn_jax.layers.conditions import ConditionBias, ConditionSizes
from pixelcnn_jax.layers.convolution import CausalConv
from pixelcnn_jax.layers.coordinates import Coordinates
from pixelcnn_jax.layers.needs import Part, Work, Works, parts_of
from pixelcnn_jax.layers.normed import NormedConv
from pixelcnn_jax.layers.passes import CachedPass, CalibratingPass, ImagePass, Pass
from pixelcnn_jax.layers.reading import ConditionReader
from pixelcnn_jax.layers.resnets import GatedResnet, Projection, concat_elu
from pixelcnn_jax.layers.strided import Grow, Shrink

__all__ = [
    "NOTHING_READ",
    "NO_CONDITIONS",
    "AnyLayer",
    "At",
    "Attention",
    "CachedPass",
    "Caches",
    "CalibratingPass",
    "CausalConv",
    "CausalLayer",
    "ConditionBias",
    "ConditionReader",
    "ConditionSizes",
    "Conditions",
    "Coordinates",
    "Front",
    "GatedLayer",
    "GatedResnet",
    "Grow",
    "ImagePass",
    "MakeConv",
    "NormedConv",
    "OtherConditions",
    "Part",
    "Pass",
    "Projection",
    "ReadConditions",
    "ResidualBlock",
    "Row",
    "Seen",
    "Shrink",
    "Spec",
    "Work",
    "Works",
    "concat_elu",
    "parts_of",
]
