"""What sampling, likelihood and training may ask of a model."""

from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pixelcnn_jax.config import ModelConfig
from pixelcnn_jax.distributions import build_distribution
from pixelcnn_jax.errors import require
from pixelcnn_jax.layers import (
    CausalConv,
    ClassBias,
    Front,
    ImagePass,
    Pass,
    image_pass,
)

Conditions = Sequence[jax.Array | None]
"""What each layer adds for the images' classes, each ``[B, D]``; None: nothing."""


class PixelModel(nnx.Module):
    """A network that gives each pixel's distribution from all earlier pixels.

    A model of the family fills in its body (`network`), its cached passes
    (`init_caches`, `start_row`, `step`, `observe`) and its `receptive_field`; all else
    of the package works through these. The caches are plain pytrees, and a sampler goes

        caches = model.init_caches(batch_size, width, labels)
        for each row:
            caches = model.start_row(caches, row)
            for each front of positions in it:
                outputs, caches = model.step(caches, front)
                caches = model.observe(caches, pixels_drawn_from_outputs, front)
    """

    has_row_pass: ClassVar[bool] = False
    """Whether `start_row` does work that needs all rows above to be known."""

    def __init__(self, config: ModelConfig):
        self.config = config
        self.distribution = build_distribution(config)

    def encode(self, images: jax.Array) -> jax.Array:
        """Levels ``[..., C]`` as the floats that the network reads."""
        raise NotImplementedError

    def __call__(
        self,
        images_BHWC: jax.Array,
        labels: jax.Array | None = None,
        *,
        dropout_keys: jax.Array | None = None,
        reverse_mode: bool = False,
    ) -> jax.Array:
        """What the output distribution needs for every pixel, given all earlier ones.

        Args:
            images_BHWC: integers ``[B, H, W, C]`` in ``[0, levels)``. H and W need not
                be the config's.
            labels: int ``[B]``, the classes; for a model with classes alone.
            dropout_keys: keys ``[B]``, for training alone.
            reverse_mode: faster gradients, at the price of forward-mode
                differentiation; the values are the same.

        Returns:
            float32, for a categorical output logits ``[B, H, W, C, V]``, for a mixture
            its parameters ``[B, H, W, P]``.
        """
        x = self.encode(images_BHWC)
        apply = ImagePass(dropout_keys, reverse_mode)
        return self.network(x, self.conditions(labels), apply)

    def network(
        self, x: jax.Array, conditions: Conditions = (), apply: Pass = image_pass
    ) -> jax.Array:
        """The body: encoded pixels ``[B, H, W, C]`` to outputs.

        Empty ``conditions`` stand for no classes.
        """
        raise NotImplementedError

    def conditions(self, labels: jax.Array | None) -> Conditions:
        """What each layer adds for these classes; empty without labels."""
        require(
            (labels is None) == (self.config.num_classes == 0),
            f"labels must be given for a model with classes, and only for one: this has"
            f" {self.config.num_classes}, got {'none' if labels is None else 'some'}",
        )
        if labels is None:
            return []
        return [bias(labels) for bias in self.class_biases()]

    def class_biases(self) -> list[ClassBias]:
        """The class biases, in the order in which they are applied."""
        raise NotImplementedError

    def causal_layers(self) -> list[CausalConv]:
        """All causal layers."""
        return [x for _, x in nnx.iter_modules(self) if isinstance(x, CausalConv)]

    def init_caches(
        self,
        batch_size: int,
        width: int,
        labels: jax.Array | None = None,
        front: int = 1,
    ) -> Any:
        """Empty caches for images of ``width`` columns.

        ``front`` is the number of neighbouring rows that a front of positions spans.
        """
        raise NotImplementedError

    def start_row(self, caches: Any, row: jax.Array) -> Any:
        """The caches once all rows above ``row`` are known."""
        return caches

    def step(self, caches: Any, front: Front) -> tuple[jax.Array, Any]:
        """Outputs ``[F, B, ...]`` at the front's positions, and the new caches.

        Every pixel before them must have been given to `observe`.
        """
        raise NotImplementedError

    def observe(self, caches: Any, pixels_FBC: jax.Array, front: Front) -> Any:
        """The caches once the pixels at the front's positions are known.

        Channels that are not known yet may hold anything on the grid.
        """
        raise NotImplementedError

    @property
    def wavefront_lag(self) -> int | None:
        """Columns by which a row of a wavefront runs behind the row above.

        None: rows can't run side by side.
        """
        return None

    def receptive_field(
        self, height: int | None = None, width: int | None = None
    ) -> np.ndarray:
        """What each output can see by its masks, bool ``[H, W, C, H, W, C]``.

        C is 1 where the output distribution, not the masks, carries the channels'
        order. See `masks.itself`.
        """
        raise NotImplementedError

    def _options(self, rngs: nnx.Rngs) -> dict[str, Any]:
        """What all causal layers of the network share."""
        dtype = jnp.dtype(self.config.dtype)
        channels = self.config.ordered_channels
        return {"num_channels": channels, "dtype": dtype, "rngs": rngs}
