"""From a config to its network."""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from flax import nnx

from pixelcnn_jax import keys
from pixelcnn_jax.config import (
    GatedPixelCNNConfig,
    ModelConfig,
    PixelCNNConfig,
    PixelCNNPPConfig,
    PixelSNAILConfig,
)
from pixelcnn_jax.errors import require
from pixelcnn_jax.memory import require_memory
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.models.gated import GatedPixelCNN
from pixelcnn_jax.models.pixelcnn import PixelCNN
from pixelcnn_jax.models.pixelcnn_pp import PixelCNNPP
from pixelcnn_jax.models.pixelsnail import PixelSNAIL

MODELS: dict[type[ModelConfig], Callable[..., PixelModel]] = {
    PixelCNNConfig: PixelCNN,
    GatedPixelCNNConfig: GatedPixelCNN,
    PixelCNNPPConfig: PixelCNNPP,
    PixelSNAILConfig: PixelSNAIL,
}
"""The network of each config."""


def build_model(config: ModelConfig, seed: int = 0) -> PixelModel:
    """An untrained model. The same config and seed give the same weights.

    Returns:
        The model of the config's type: a `PixelCNN` for a `PixelCNNConfig`, a
        `GatedPixelCNN` for a `GatedPixelCNNConfig`, ...

    Raises:
        UserError: the config or the seed is none, the config leaves something to the
            data, or the weights would not fit in this machine's memory.
    """
    require(
        type(config) in MODELS,
        "the config must be that of a model, such as a PixelCNNConfig, got"
        f" {type(config).__name__}",
    )
    require(
        isinstance(seed, int | np.integer) and 0 <= seed < 2**32,
        f"seed must be an integer of at least 0 and below 2**32, got {seed!r}; try 0",
    )
    require(
        not config.unknown,
        f"model.{', model.'.join(config.unknown)} must be known to build a model, got"
        " -1: to be taken from the data; pass a number",
    )
    graph, shapes = nnx.split(nnx.eval_shape(lambda: _build(config, keys.root(0))))
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
    require_memory("the model's weights", size, "take a narrower or shallower model")
    return nnx.merge(graph, _initial_state(config, keys.root(seed)))


def _build(config: ModelConfig, key: jax.Array) -> PixelModel:
    weights = keys.for_purpose(key, keys.Purpose.WEIGHTS)
    return MODELS[type(config)](config, rngs=nnx.Rngs(params=weights))


@partial(jax.jit, static_argnums=0)
def _initial_state(config: ModelConfig, key: jax.Array) -> nnx.State:
    # One compiled program draws all weights; one for each layer would take seconds.
    return nnx.state(_build(config, key))
