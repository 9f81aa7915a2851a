"""The one loop over the positions of images.

Everything that visits pixels one after another is a walk: sampling draws each pixel,
completion keeps those that are known, teacher forcing takes the given ones. They differ
in how a pixel is chosen and in nothing else.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from pixelcnn_jax.errors import UserError
from pixelcnn_jax.layers import NO_CONDITIONS, Conditions, Front, Row, Spec, Works
from pixelcnn_jax.order import Order
from pixelcnn_jax.walkers import Walker, WalkerState, fill_row


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


class Visit(Protocol):
    """One step of a walk."""

    def __call__(
        self, step: jax.Array, state: Walked, phase: tuple[int, int] | None = None
    ) -> Walked:
        """The state after the step; where in its period it is, if that is known."""
        ...


def walk(
    walker: Walker,
    order: Order,
    batch_size: int,
    choose: Choose,
    *,
    conditions: Conditions = NO_CONDITIONS,
    record: Record | None = None,
    above: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Visit all positions of a batch of images, and choose their pixels.

    Args:
        walker: the model itself, or what stands for it, such as `WholeImages`.
        order: a wavefront only for models that allow its lag.
        batch_size: B.
        choose: decides each pixel.
        conditions: of the batch.
        record: keeps a number per pixel; None: zeros are returned.
        above: int32 ``[B, order.first_row, W, C]``, the pixels above the first row that
            is visited; None if that is the top.

    Returns:
        images int32 ``[B, H, W, C]`` and what was recorded, float32 ``[B, H, W]``.
    """
    spec = Spec(batch_size, order.height, order.width, order.front_size)
    positions = order.height * order.width
    state = Walked(
        # Positions first: what a step reads and writes is one contiguous piece.
        jnp.zeros((positions, batch_size, walker.config.channels), jnp.int32),
        jnp.zeros((positions, batch_size), jnp.float32),
        walker.init_caches(spec, conditions),
    )
    if above is not None:
        state = _fill(walker, order, record, state, above)
    visit = _visitor(walker, order, choose, record)

    def visit_row(row: jax.Array, row_phase: int | None, state: Walked) -> Walked:
        at = Row(jnp.asarray(row), row_phase)
        state = state._replace(caches=walker.start_row(state.caches, at))
        # Steps are counted from the first row that is visited.
        first = (at.row - order.first_row) * order.width

        def visit_column(column: jax.Array, phase: int | None, s: Walked) -> Walked:
            if row_phase is None or phase is None:
                return visit(first + column, s)
            return visit(first + column, s, (row_phase, phase))

        return _in_phases(order.period, range(order.width), visit_column, state)

    # With a vertical stack the loop is nested, so that the stack runs once per row
    # without a condition at every pixel.
    if not walker.has_vertical_stack:
        state = lax.fori_loop(0, order.num_steps, visit, state)
    elif order.lag is None:
        rows = range(order.first_row, order.height)
        state = _in_phases(order.period, rows, visit_row, state)
    else:
        raise UserError(
            "a wavefront needs a model whose rows can be visited side by side, got a"
            f" {type(walker).__name__}; use the raster order"
        )
    return _as_images(state.canvas, order), _as_images(state.record, order)


def _in_phases(
    period: int,
    indices: range,
    body: Callable[[jax.Array, int | None, Walked], Walked],
    state: Walked,
) -> Walked:
    """A loop whose body knows, as it is compiled, where in its period an index lies.

    With a period of 1 there is nothing to know, and it is given None.
    """
    if period == 1:
        return lax.fori_loop(
            indices.start, indices.stop, lambda i, s: body(i, None, s), state
        )
    # Up to the first multiple, whole periods, and what is left.
    first = min(-(-indices.start // period) * period, indices.stop)
    last = max(indices.stop // period * period, first)

    def visit(start: jax.Array | int, phases: range, state: Walked) -> Walked:
        for phase in phases:
            state = body(jnp.asarray(start + phase), phase % period, state)
        return state

    state = visit(0, range(indices.start, first), state)
    state = lax.fori_loop(
        first // period,
        last // period,
        lambda i, s: visit(i * period, range(period), s),
        state,
    )
    return visit(0, range(last, indices.stop), state)


def _visitor(
    walker: Walker, order: Order, choose: Choose, record: Record | None
) -> Visit:
    steps = range(walker.distribution.steps_per_pixel)

    def visit(
        step: jax.Array, state: Walked, phase: tuple[int, int] | None = None
    ) -> Walked:
        front, in_turn_F = order.front(jnp.asarray(step))
        front = front._replace(phase=phase)
        position_F = front.rows_F * order.width + front.columns_F
        canvas, numbers, caches = state
        old = _take(canvas, position_F)
        pixels, number = old, jnp.zeros(old.shape[:2], jnp.float32)
        # A Python loop, since distributions slice channels by a static number.
        for s in steps:
            outputs, caches = walker.step(caches, front, pixels)
            chosen = choose(outputs, pixels, front, s)
            # Positions out of their turn keep their pixel. They are stepped through
            # again with the same context, which leaves their caches as they were.
            pixels = jnp.where(in_turn_F[:, None, None], chosen, old)
            if record is not None:
                number = number + record(outputs, pixels, s)
        # Once all channels are drawn: first layers read whole earlier pixels.
        caches = walker.observe(caches, front, pixels)
        if record is not None:
            kept = _take(numbers, position_F)
            number = jnp.where(in_turn_F[:, None], number, kept)
            numbers = _put(numbers, position_F, number)
        return Walked(_put(canvas, position_F, pixels), numbers, caches)

    return visit


def _fill(
    walker: Walker,
    order: Order,
    record: Record | None,
    state: Walked,
    above: jax.Array,
) -> Walked:
    """The rows above the first visited one, each in one step of the network."""
    pixels = jnp.moveaxis(above, 0, 2)  # [rows, W, B, C]
    steps = range(walker.distribution.steps_per_pixel)

    def fill(works: Works, row: jax.Array, state: Walked) -> Walked:
        row = jnp.asarray(row)
        first, pixels_WBC = row * order.width, pixels[row]
        outputs, caches = fill_row(walker, state.caches, row, pixels_WBC, works)
        canvas = lax.dynamic_update_slice_in_dim(state.canvas, pixels_WBC, first, 0)
        numbers = state.record
        if record is not None:
            # All channels are known, so one pass has the outputs of every step.
            parts = [record(outputs, pixels_WBC, s) for s in steps]
            number_WB = jnp.stack(parts).sum(0)
            numbers = lax.dynamic_update_slice_in_dim(numbers, number_WB, first, 0)
        return Walked(canvas, numbers, caches)

    outputs = record is not None
    for part in walker.known_parts(state.caches, order.first_row, outputs=outputs):
        state = lax.fori_loop(part.start, part.stop, partial(fill, part.works), state)
    return state


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
