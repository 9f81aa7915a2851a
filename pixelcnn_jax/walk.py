"""The one loop over the positions of images, and the orders in which it visits them.

Everything that visits pixels one after another is a walk: sampling draws each pixel,
completion keeps those that are known, teacher forcing takes the given ones. They differ
in how a pixel is chosen and in nothing else.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from pixelcnn_jax.config import ModelConfig
from pixelcnn_jax.distributions import Distribution
from pixelcnn_jax.errors import UserError
from pixelcnn_jax.layers import NO_CONDITIONS, Conditions, Front, Spec
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

    def init_caches(self, spec: Spec) -> WalkerState: ...

    def start_row(self, caches: WalkerState, row: jax.Array) -> WalkerState: ...

    def step(
        self, caches: WalkerState, front: Front, pixels_FBC: jax.Array
    ) -> tuple[jax.Array, WalkerState]: ...

    def observe(
        self, caches: WalkerState, front: Front, pixels_FBC: jax.Array
    ) -> WalkerState: ...


class WholeImages:
    """A walker that runs a model's image pass anew for every step: the textbook's loop.

    Its only memory is the image so far. It is the reference for all other ways.
    """

    has_vertical_stack = False

    def __init__(self, model: PixelModel):
        self.config = model.config
        self.distribution = model.distribution
        self._model = model

    def init_caches(self, spec: Spec) -> tuple[jax.Array, jax.Array | None]:
        shape = (spec.batch_size, spec.height, spec.width, self.config.channels)
        return jnp.zeros(shape, jnp.int32), spec.conditions.labels

    def start_row(self, caches: WalkerState, row: jax.Array) -> WalkerState:
        return caches

    def step(
        self, caches: WalkerState, front: Front, pixels_FBC: jax.Array
    ) -> tuple[jax.Array, WalkerState]:
        images, labels = self.observe(caches, front, pixels_FBC)
        outputs = self._model(images, labels)
        here = outputs[:, front.rows_F, front.columns_F]
        return jnp.moveaxis(here, 1, 0), (images, labels)

    def observe(
        self, caches: WalkerState, front: Front, pixels_FBC: jax.Array
    ) -> WalkerState:
        images, labels = caches
        pixels_BFC = jnp.moveaxis(pixels_FBC, 0, 1)
        return images.at[:, front.rows_F, front.columns_F].set(pixels_BFC), labels


@dataclasses.dataclass(frozen=True)
class Order:
    """The order in which a walk visits the positions of an image.

    Row by row if ``lag`` is None (*raster*). Else each row stays ``lag`` columns behind
    the row above (*wavefront*): a step visits the columns ``step - row * lag`` of all
    rows in which that lies inside the image.
    """

    height: int
    width: int
    lag: int | None = None

    @property
    def front_size(self) -> int:
        """Positions of a front: the most rows that a step can visit."""
        return 1 if self.lag is None else min(self.height, -(-self.width // self.lag))

    @property
    def num_steps(self) -> int:
        """Fronts of a walk."""
        if self.lag is None:
            return self.height * self.width
        return self.width + (self.height - 1) * self.lag

    def front(self, step: jax.Array) -> tuple[Front, jax.Array]:
        """The positions of a step, and bool ``[F]``: which of them are in their turn.

        A front always has `front_size` positions. The first and the last steps have
        fewer to visit: the rest repeat positions of this step or of an earlier one.
        """
        if self.lag is None:
            row, column = step // self.width, step % self.width
            return Front(row[None], column[None]), jnp.ones(1, bool)
        # The lowest row that has begun, and those above it.
        lowest = jnp.minimum(step // self.lag, self.height - 1)
        rows_F = jnp.maximum(lowest - jnp.arange(self.front_size), 0)
        columns_F = step - rows_F * self.lag
        inside = columns_F < self.width
        return Front(rows_F, jnp.minimum(columns_F, self.width - 1)), inside

    def step_of_positions(self) -> jax.Array:
        """The step at which each position is visited, int ``[H, W]``."""
        rows, columns = jnp.mgrid[: self.height, : self.width]
        behind = self.width if self.lag is None else self.lag
        return columns + rows * behind


class Choose(Protocol):
    """Decides the pixels of a front."""

    def __call__(
        self, outputs: jax.Array, before_FBC: jax.Array, front: Front, step: int
    ) -> jax.Array:
        """The front's pixels ``[F, B, C]``, with the channels of this step decided.

        Args:
            outputs: of the model, ``[F, B, ...]``, given all earlier pixels and the
                channels of ``before``.
            before_FBC: int32, the pixels as far as they are known.
            front: where they are.
            step: which of the distribution's `steps_per_pixel` this is.
        """
        ...


Record = Callable[[jax.Array, jax.Array, int], jax.Array]
"""From outputs, pixels and step to a number per pixel, float32 ``[F, B]``."""


class Walked(NamedTuple):
    """What a walk has seen."""

    canvas: jax.Array
    """int32 ``[H * W, B, C]``: the pixels decided so far, zeros elsewhere."""
    record: jax.Array
    """float32 ``[H * W, B]``: what was recorded, summed over each pixel's steps."""
    caches: WalkerState


def walk(
    walker: Walker,
    order: Order,
    batch_size: int,
    choose: Choose,
    *,
    conditions: Conditions = NO_CONDITIONS,
    record: Record | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Visit all positions of a batch of images, and choose their pixels.

    Args:
        walker: the model itself, or `WholeImages` of it.
        order: a wavefront only for models that allow its lag.
        batch_size: B.
        choose: decides each pixel.
        conditions: of the batch.
        record: keeps a number per pixel; None: zeros are returned.

    Returns:
        images int32 ``[B, H, W, C]`` and what was recorded, float32 ``[B, H, W]``.
    """
    spec = Spec(batch_size, order.height, order.width, order.front_size, conditions)
    positions = order.height * order.width
    steps = range(walker.distribution.steps_per_pixel)

    def visit(step: jax.Array, state: Walked) -> Walked:
        front, in_turn_F = order.front(jnp.asarray(step))
        position_F = front.rows_F * order.width + front.columns_F
        canvas, numbers, caches = state
        old = _take(canvas, position_F)
        pixels, number = old, jnp.zeros(old.shape[:2], jnp.float32)
        for s in steps:
            outputs, caches = walker.step(caches, front, pixels)
            chosen = choose(outputs, pixels, front, s)
            pixels = jnp.where(in_turn_F[:, None, None], chosen, old)
            if record is not None:
                number = number + record(outputs, pixels, s)
        caches = walker.observe(caches, front, pixels)
        if record is not None:
            kept = _take(numbers, position_F)
            number = jnp.where(in_turn_F[:, None], number, kept)
            numbers = _put(numbers, position_F, number)
        return Walked(_put(canvas, position_F, pixels), numbers, caches)

    def visit_row(row: jax.Array, state: Walked) -> Walked:
        row = jnp.asarray(row)
        state = state._replace(caches=walker.start_row(state.caches, row))
        first = row * order.width
        return lax.fori_loop(0, order.width, lambda c, s: visit(first + c, s), state)

    state = Walked(
        jnp.zeros((positions, batch_size, walker.config.channels), jnp.int32),
        jnp.zeros((positions, batch_size), jnp.float32),
        walker.init_caches(spec),
    )
    if not walker.has_vertical_stack:
        state = lax.fori_loop(0, order.num_steps, visit, state)
    elif order.lag is None:
        state = lax.fori_loop(0, order.height, visit_row, state)
    else:
        raise UserError(
            "a wavefront needs a model whose rows can be visited side by side, got a"
            f" {type(walker).__name__}; use the raster order"
        )
    return _as_images(state.canvas, order), _as_images(state.record, order)


def _take(values: jax.Array, position_F: jax.Array) -> jax.Array:
    # A slice per position, as in `layers.rings`: faster than a gather on a CPU.
    return jnp.stack(
        [
            lax.dynamic_index_in_dim(values, position_F[f], keepdims=False)
            for f in range(len(position_F))
        ]
    )


def _put(values: jax.Array, position_F: jax.Array, new: jax.Array) -> jax.Array:
    for f in range(len(position_F)):
        values = lax.dynamic_update_slice_in_dim(
            values, new[f : f + 1], position_F[f], 0
        )
    return values


def _as_images(values: jax.Array, order: Order) -> jax.Array:
    images = values.reshape(order.height, order.width, *values.shape[1:])
    return jnp.moveaxis(images, 2, 0)
