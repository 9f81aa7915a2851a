"""What a walk asks at each position: a model's steps, or its image pass."""

from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp

from pixelcnn_jax.config import ModelConfig
from pixelcnn_jax.distributions import Distribution
from pixelcnn_jax.layers import At, Conditions, Part, Row, Spec, Works
from pixelcnn_jax.models.base import PixelModel

WalkerState: TypeAlias = Any
"""What a walker remembers: a pytree that only the walker itself looks into."""


class Walker(Protocol):
    """Gives the outputs at one front of positions after another; see `PixelModel`."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def distribution(self) -> Distribution: ...

    @property
    def has_vertical_stack(self) -> bool: ...

    def init_caches(self, spec: Spec, conditions: Conditions) -> WalkerState: ...

    def start_row(
        self, caches: WalkerState, at: Row, works: Works | None = None
    ) -> WalkerState: ...

    def known_parts(
        self, caches: WalkerState, known_rows: int, *, outputs: bool
    ) -> list[Part]: ...

    def step(
        self,
        caches: WalkerState,
        at: At,
        pixels_FBC: jax.Array,
        works: Works | None = None,
    ) -> tuple[jax.Array, WalkerState]: ...

    def observe(
        self, caches: WalkerState, at: At, pixels_FBC: jax.Array
    ) -> WalkerState: ...


class WholeImages:
    """A walker that runs a model's image pass anew for every step: the textbook's loop.

    Its only memory is the image so far. It is the reference for all other ways.
    """

    # The image pass runs both stacks of a model, so a row has nothing to prepare.
    has_vertical_stack = False

    def __init__(self, model: PixelModel):
        self.config = model.config
        self.distribution = model.distribution
        self._model = model

    def init_caches(
        self, spec: Spec, conditions: Conditions
    ) -> tuple[jax.Array, Conditions]:
        shape = (spec.batch_size, spec.height, spec.width, self.config.channels)
        return jnp.zeros(shape, jnp.int32), conditions

    def start_row(
        self, caches: WalkerState, at: Row, works: Works | None = None
    ) -> WalkerState:
        return caches

    def known_parts(
        self, caches: WalkerState, known_rows: int, *, outputs: bool
    ) -> list[Part]:
        return [Part(0, known_rows, {})]

    def step(
        self,
        caches: WalkerState,
        at: At,
        pixels_FBC: jax.Array,
        works: Works | None = None,
    ) -> tuple[jax.Array, WalkerState]:
        # Put in first: the channels that are known already count.
        images, conditions = self.observe(caches, at, pixels_FBC)
        outputs = self._model.given(images, conditions)
        here = outputs[:, *_places(at)]
        return jnp.moveaxis(here, 1, 0), (images, conditions)

    def observe(
        self, caches: WalkerState, at: At, pixels_FBC: jax.Array
    ) -> WalkerState:
        images, conditions = caches
        pixels_BFC = jnp.moveaxis(pixels_FBC, 0, 1)
        return images.at[:, *_places(at)].set(pixels_BFC), conditions


def _places(at: At) -> tuple[jax.Array, ...]:
    """The index of these positions in ``[H, W]``."""
    return (at.row,) if isinstance(at, Row) else (at.rows_F, at.columns_F)


def fill_row(
    walker: Walker,
    caches: WalkerState,
    row: jax.Array,
    pixels_WBC: jax.Array,
    works: Works,
) -> tuple[jax.Array, WalkerState]:
    """Outputs ``[W, B, ...]`` of a row whose pixels are known, and the new caches.

    All its positions go through the network side by side. To be called for one row
    after the other from the top, with what the walker's `known_parts` say.
    """
    at = Row(row)
    caches = walker.start_row(caches, at, works)
    # Unlike a front, a row reads pixels of its own: those left of each position.
    caches = walker.observe(caches, at, pixels_WBC)
    return walker.step(caches, at, pixels_WBC, works)
