"""What a prefill must compute: of rows that are known, only what later rows read.

Deep layers need the fewest: the last one's cache holds a row or two, the one before it
as many more, and so on up to the pixels. What follows the last cache, such as the
layers that make logits, is not needed at all.
"""

import enum
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from pixelcnn_jax.layers.base import AnyLayer, C, CausalLayer, Row, X

MAX_PARTS = 6
"""Into which known rows are cut: each is compiled by itself, and saves some work."""


class Work(enum.Enum):
    """What a layer must do at a row."""

    NOTHING = enum.auto()
    REMEMBER = enum.auto()
    """Later steps read its cache, and nobody its outputs."""
    STEP = enum.auto()


Works: TypeAlias = Mapping[str, Work]
"""The work of each layer, by its name."""


class Part(NamedTuple):
    """Neighbouring rows with the same work."""

    start: int
    stop: int
    works: Works


class Need(NamedTuple):
    """From which row of its grid on a layer must work."""

    scale: int
    cache: int
    outputs: int

    def work(self, row: int) -> Work:
        """At this row of the image."""
        if row // self.scale >= self.outputs:
            return Work.STEP
        return Work.REMEMBER if row // self.scale >= self.cache else Work.NOTHING


def parts_of(
    layers: Sequence[tuple[str, AnyLayer]], known_rows: int, first_row: int
) -> list[Part]:
    """The known rows at the top of images, and what each layer must do there.

    Args:
        layers: of a network, by name, in the order in which it applies them.
        known_rows: how many.
        first_row: the first one whose outputs are wanted.
    """
    needs = _needs(layers, first_row)
    begin = {row * n.scale for n in needs.values() for row in (n.cache, n.outputs)}
    starts = [0, *sorted(row for row in begin if 0 < row < known_rows)]
    # If some are left out, layers begin earlier than they must.
    starts = starts[:: -(-len(starts) // MAX_PARTS)]
    stops = [*starts[1:], known_rows]
    return [
        # The last row decides: what is needed there is computed in all of the part.
        Part(start, stop, {name: need.work(stop - 1) for name, need in needs.items()})
        for start, stop in zip(starts, stops, strict=True)
    ]


def _needs(layers: Sequence[tuple[str, AnyLayer]], first_row: int) -> dict[str, Need]:
    needs, row = {}, first_row
    # Each layer is taken to read all that were applied before it: that asks for too
    # much if some stand side by side, and never for too little.
    for name, layer in reversed(layers):
        outputs = row // layer.scale
        above = outputs if layer.rows_above is None else layer.rows_above
        needs[name] = Need(layer.scale, max(0, outputs - above), outputs)
        row = needs[name].cache * layer.scale
    return needs


def step_as_needed(
    layer: CausalLayer[X, C], cache: C, at: Row, x: X, work: Work
) -> tuple[jax.Array, C]:
    """The layer's step at a row; zeros for outputs that nobody reads."""
    if work is Work.STEP:
        return layer.step(cache, at, x)
    shape, _ = jax.eval_shape(lambda x: layer.step(cache, at, x), x)
    if work is Work.REMEMBER:
        # The compiler drops the product that makes the outputs.
        _, cache = layer.step(cache, at, x)
    return jnp.zeros(shape.shape, shape.dtype), cache
