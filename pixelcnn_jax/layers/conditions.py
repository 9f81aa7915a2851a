"""What images are conditioned on, and how features learn of it."""

import jax
import jax.numpy as jnp
from flax import nnx

from pixelcnn_jax.errors import require
from pixelcnn_jax.layers.base import At, CausalLayer, Conditions, Spec


class ClassBias(CausalLayer[tuple[jax.Array, Conditions], jax.Array | tuple[()]]):
    """Features plus a learned vector for each image's class, zero at first.

    Its input is the features and the conditions; its cache the vector ``[B, D]`` of
    each image, looked up once. For a model without classes (``num_classes`` 0) it adds
    nothing and has no parameters.
    """

    def __init__(self, num_classes: int, features: int):
        self.num_classes = num_classes
        if num_classes:
            self.table = nnx.Param(jnp.zeros((num_classes, features), jnp.float32))

    def _vectors(self, conditions: Conditions) -> jax.Array | None:
        given = conditions.labels is not None
        require(
            given == (self.num_classes > 0),
            "labels must be given for a model with classes, and only for one: this has"
            f" {self.num_classes}, got {'some' if given else 'none'}",
        )
        return self.table[...][conditions.labels] if given else None

    def __call__(self, x: tuple[jax.Array, Conditions]) -> jax.Array:
        """The image pass: ``[D, B, H, W]``, same shape out as in."""
        y, conditions = x
        vectors_BD = self._vectors(conditions)
        return y if vectors_BD is None else y + vectors_BD.T[:, :, None, None]

    @property
    def rows_above(self) -> int | None:
        return 0

    def init_cache(self, spec: Spec) -> jax.Array | tuple[()]:
        """The vector of each image."""
        vectors_BD = self._vectors(spec.conditions)
        return () if vectors_BD is None else vectors_BD

    def step(
        self, cache: jax.Array | tuple[()], at: At, x: tuple[jax.Array, Conditions]
    ) -> tuple[jax.Array, jax.Array | tuple[()]]:
        """``[F, B, D]``, same shape out as in."""
        # Steps are given no conditions: the cache was made with the vectors.
        y, _ = x
        return y if isinstance(cache, tuple) else y + cache, cache
