"""What is static of a model, for programs compiled for it."""

from flax import nnx

from pixelcnn_jax.models.base import PixelModel


class Graph:
    """A model's graph that remembers its hash: Flax computes it anew at each call,
    which can take longer than drawing an image does."""

    def __init__(self, graph: nnx.GraphDef[PixelModel]):
        self.graph = graph
        self._hash = hash(graph)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        # Identity first: to compare two graphs is slow as well.
        same = self is other
        return same or (isinstance(other, Graph) and self.graph == other.graph)
