"""How a model reads its conditions: once per image, for all its layers."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pixelcnn_jax.errors import require
from pixelcnn_jax.layers.base import Conditions, ReadConditions
from pixelcnn_jax.layers.conditions import ConditionSizes
from pixelcnn_jax.layers.products import add_to_maps, gather, shift, weigh_maps

AROUND = tuple((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1))
"""Taps of a whole 3 x 3 kernel: a map is known before the first pixel."""


class MapConv(nnx.Module):
    """A convolution over condition maps, ``[C, B, h, w]`` to ``[D, B, h, w]``, that
    sees all neighbours."""

    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs):
        shape = (len(AROUND), in_features, out_features)
        # Glorot's limit, as for other layers.
        limit = float(np.sqrt(6 / (len(AROUND) * (in_features + out_features))))
        self.kernel = nnx.Param(
            jax.random.uniform(rngs.params(), shape, jnp.float32, -limit, limit)
        )
        self.bias = nnx.Param(jnp.zeros(out_features, jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        gathered = gather(shift(x, AROUND), 0, jnp.float32)
        y = weigh_maps(gathered, self.kernel[...], jnp.float32)
        return add_to_maps(y, self.bias[...])


class MapReader(nnx.Module):
    """Features of a condition map: ``[B, h, w, C]`` to ``[E, B, h, w]``.

    Values become features, by a table of vectors for each channel's levels or, if they
    are floats, by a 1x1 layer; two residual convolutions then tell each place of its
    neighbours. After the network over the coarser codes in VQ-VAE-2 (Razavi et al.
    2019, arXiv:1906.00446), smaller.

    Args:
        channels: C.
        levels: that an integer map can take; 0: the map is of floats.
        features: E.
    """

    def __init__(self, channels: int, levels: int, features: int, *, rngs: nnx.Rngs):
        shape = (channels, levels, features) if levels else (channels, features)
        # Channels are summed, so their variances are to sum to one.
        scale = channels**-0.5
        first = scale * jax.random.normal(rngs.params(), shape, jnp.float32)
        self.values = nnx.Param(first)
        self.levels = levels
        self.blocks = nnx.List(
            [MapConv(features, features, rngs=rngs) for _ in range(2)]
        )

    def __call__(self, condition_map: jax.Array) -> jax.Array:
        values = self.values[...]
        if self.levels:
            # As an index, a type of few bits could not tell its own axis's size.
            condition_map = condition_map.astype(jnp.int32)
            channels = range(condition_map.shape[-1])
            of_channels = [values[c][condition_map[..., c]] for c in channels]
            x = jnp.stack(of_channels).sum(0)
        else:
            x = condition_map.astype(jnp.float32) @ values
        x = jnp.moveaxis(x, -1, 0)
        for block in self.blocks:
            x = x + block(nnx.relu(x))
        return x


class ConditionReader(nnx.Module):
    """Conditions as a model's layers take them.

    Args:
        classes: that labels name; 0: none are given.
        features: of the vector; 0: none is given.
        channels: of the map; 0: none is given.
        levels: of an integer map; 0: it is of floats.
        width: features that the map is read as.
        optional: whether images may come without their conditions.
        rngs: for the map's first weights; None if there is no map.
    """

    def __init__(
        self,
        *,
        classes: int = 0,
        features: int = 0,
        channels: int = 0,
        levels: int = 0,
        width: int = 0,
        optional: bool = False,
        rngs: nnx.Rngs | None = None,
    ):
        # With a one more, that tells a vector of zeros from none.
        vector = features + 1 if features and optional else features
        # What is on the map's average reaches every pixel, before its place too.
        map_width = width if channels else 0
        self.sizes = ConditionSizes(classes, vector + map_width, map_width)
        sizes = {
            "labels": classes,
            "condition": features,
            "condition_map": channels,
        }
        self.required = tuple(name for name, size in sizes.items() if size)
        self.optional = optional
        if channels:
            if rngs is None:
                raise ValueError(
                    "a model that takes condition maps needs weights to read them: pass"
                    " rngs to PixelModel.__init__"
                )
            self.map = MapReader(channels, levels, width, rngs=rngs)

    def __call__(
        self, conditions: Conditions, height: int, width: int
    ) -> ReadConditions:
        """What the layers of a model learn, for images of this size.

        Raises:
            UserError: a condition is missing, or not the model's.
        """
        if not self._given(conditions):
            return ReadConditions()
        labels, vectors, placed, repeats = None, [], None, (1, 1)
        if conditions.labels is not None:
            labels = jnp.asarray(conditions.labels, jnp.int32)
        if conditions.condition is not None:
            vectors.append(jnp.asarray(conditions.condition, jnp.float32))
            if self.optional:
                vectors.append(jnp.ones_like(vectors[0][:, :1]))
        if conditions.condition_map is not None:
            placed = self.map(jnp.asarray(conditions.condition_map))
            vectors.append(placed.mean((2, 3)).T)
            repeats = height // placed.shape[2], width // placed.shape[3]
        vector = jnp.concatenate(vectors, -1) if vectors else None
        if conditions.present is not None:
            present = jnp.asarray(conditions.present)
            labels, vector, placed = _kept(present, labels, vector, placed)
        return ReadConditions(labels, vector, placed, repeats)

    def _given(self, conditions: Conditions) -> bool:
        """Whether there are any, which must then be all."""
        names = ("labels", "condition", "condition_map")
        given = tuple(name for name in names if getattr(conditions, name) is not None)
        require(
            given == self.required or (self.optional and not given),
            "each condition must be given to a model that has it, and only to one:"
            f" this has {', '.join(self.required) or 'none'},"
            f" got {', '.join(given) or 'none'}",
        )
        return bool(given)


def _kept(
    present_B: jax.Array,
    labels: jax.Array | None,
    vector: jax.Array | None,
    placed: jax.Array | None,
) -> tuple[jax.Array | None, jax.Array | None, jax.Array | None]:
    """What is read of the images whose conditions count, and nothing of the others."""
    if labels is not None:
        labels = jnp.where(present_B, labels, -1)
    if vector is not None:
        vector = jnp.where(present_B[:, None], vector, 0)
    if placed is not None:
        placed = jnp.where(present_B[:, None, None], placed, 0)
    return labels, vector, placed
