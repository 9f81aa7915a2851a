"""The registry of small models: every theorem of the tests runs over all of it.

A new model of the family is one line here. Shapes are chosen against each bound in the
code: images wider than a wavefront's front of all rows can cover (``W > H * lag``),
taller than wide, kernels larger than the image, a single row. And the kinds of
conditions are: classes, a vector, a map of floats, one of codes; of inputs: values and
vectors.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import pytest
from flax import nnx

import pixelcnn_jax as pj
from pixelcnn_jax.config import ModelConfig
from pixelcnn_jax.models import PixelModel
from tests import oracles


class Member(NamedTuple):
    config: ModelConfig
    field: Callable[[ModelConfig], np.ndarray] | None = None
    """An oracle of its receptive field, bool ``[H, W, C, H, W, C]``."""
    scale: float = 2.0
    """Of its weights, see `stirred`."""


def _book(scale: float = 2.0, **overrides) -> Member:
    return Member(pj.PixelCNNConfig.tiny(**overrides), oracles.book_field, scale)


def _gated(**overrides) -> Member:
    return Member(pj.GatedPixelCNNConfig.tiny(**overrides), oracles.gated_field)


def _pp(scale: float = 1.4, **overrides) -> Member:
    return Member(pj.PixelCNNPPConfig.tiny(**overrides), oracles.pp_field, scale)


def _snail(scale: float = 2.0, **overrides) -> Member:
    return Member(pj.PixelSNAILConfig.tiny(**overrides), oracles.snail_field, scale)


MIXTURE = dict(distribution="logistic_mixture", num_mixtures=3)
VECTOR = dict(condition_features=2, condition_width=3)
MAP = dict(condition_channels=1)
CODES = dict(condition_channels=2, condition_levels=3, condition_width=4)
VECTORS = dict(pixel_input="embedding", embedding_features=2)

FAMILY = {
    "book": _book(),
    "book-wide": _book(
        height=2,
        width=13,
        first_kernel_size=7,
        num_blocks=1,
        num_classes=3,
    ),
    "book-tall": _book(
        1.2, height=8, width=3, first_kernel_size=3, num_blocks=3, **VECTORS
    ),
    "book-large-kernels": _book(height=3, width=8, first_kernel_size=7, kernel_size=5),
    "book-pointwise": _book(height=5, width=3, kernel_size=1, num_blocks=1),
    "book-colour": _book(
        height=4, width=4, channels=3, features=12, levels=5, **VECTOR, **MAP, **VECTORS
    ),
    "book-classes": _book(height=4, width=5, num_classes=3),
    "book-mixture": _book(
        height=3, width=4, channels=2, levels=16, kernel_size=5, **MIXTURE
    ),
    "gated": _gated(),
    "gated-wide": _gated(height=2, width=9, kernel_size=5, num_layers=1, **CODES),
    "gated-pointwise": _gated(height=5, kernel_size=1, num_layers=1),
    "gated-colour": _gated(height=4, width=4, channels=3, levels=3, num_classes=2),
    "gated-mixture": _gated(height=3, width=4, channels=3, levels=16, **MIXTURE),
    # Twice the weights turn a rounding of one into 0.001 of a log-probability.
    "pp": _pp(),
    # As below: with its conditions, larger weights make logits of hundreds.
    "pp-odd": _pp(
        1.4,
        height=5,
        width=7,
        resolutions=3,
        num_classes=2,
        **VECTOR,
        **MAP,
        **VECTORS,
    ),
    "pp-mixture": _pp(
        height=4, width=3, channels=3, levels=16, num_resnets=2, **MIXTURE
    ),
    "snail": _snail(height=4, width=3, num_heads=2),
    # Twice the weights in two blocks turn a rounding of one into 0.01 of its logits.
    "snail-odd": _snail(
        1.4,
        height=5,
        width=7,
        num_blocks=2,
        num_classes=2,
        skips=True,
        **CODES,
        **VECTORS,
    ),
    "snail-mixture": _snail(height=3, width=4, channels=3, levels=16, **MIXTURE),
}
"""Small models by name."""

FAST = ("book-wide", "book-colour", "gated-mixture", "pp", "snail")
"""Those on which every change is tried; the others are marked slow."""


def _marks(name: str) -> list[pytest.MarkDecorator]:
    # One worker runs all theorems of a model, and compiles each of its programs once.
    together = pytest.mark.xdist_group(name)
    return [together] if name in FAST else [together, pytest.mark.slow]


each_model = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=_marks(name)) for name in FAMILY]
)


@functools.cache
def member(name: str, seed: int = 0) -> PixelModel:
    """A model of the registry, stirred; built once for all tests."""
    found = FAMILY[name]
    return stirred(found.config, seed, found.scale)


@functools.cache
def small_member(name: str) -> PixelModel:
    """A model of the same kind, so small that all its images can be listed."""
    config = FAMILY[name].config
    height = 1 if config.channels > 1 else 2
    return stirred(dataclasses.replace(config, height=height, width=2, levels=2))


@functools.cache
def stirred(config: ModelConfig, seed: int = 0, scale: float = 2.0) -> PixelModel:
    """A network with random biases and larger weights: no pixel is uniform.

    Built once for all tests; who changes one makes a copy (`nnx.clone`).
    """
    model = pj.build_model(config, seed)
    rng = np.random.default_rng(seed)
    graph, state = nnx.split(model)

    def stir(x: jax.Array) -> np.ndarray:
        return np.float32(np.asarray(x) * scale + 0.1 * rng.normal(size=x.shape))

    return nnx.merge(graph, jax.device_put(jax.tree.map(stir, state)))
