"""What is static of a model, for programs compiled for it."""

import functools

import jax
from flax import nnx

from pixelcnn_jax.models.base import PixelModel


class Graph:
    """A model without its parameters.

    `split` gives equal models one and the same, so that JAX tells them by identity: to
    hash and to compare Flax's graphs at each call can take longer than an image does.
    """

    def __init__(self, graph: nnx.GraphDef[PixelModel]):
        self._graph = graph

    def model(self, params: nnx.State) -> PixelModel:
        """The model with these parameters."""
        return nnx.merge(self._graph, params)


def split(model: PixelModel) -> tuple[Graph, nnx.State]:
    """A model's graph, and its parameters as they are now."""
    graph, params = nnx.split(model)
    # The state's variables are the model's own: new ones don't follow its changes.
    return _of(graph), jax.tree.map(lambda x: x, params)


@functools.cache
def _of(graph: nnx.GraphDef[PixelModel]) -> Graph:
    return Graph(graph)
