"""The passes: how a network's body applies its layers.

A body is written once, without knowing the axes of what it handles: work element by
element fits any shape, layers are applied by the pass, and what must know where the
features are asks it (`Pass.features`).
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from pixelcnn_jax.layers.base import AnyLayer, At, Caches, Front, LayerOf, Row, X
from pixelcnn_jax.layers.needs import Works, step_as_needed
from pixelcnn_jax.layers.strided import STRIDE, Grow, Shrink

Found: TypeAlias = Any
"""A pytree that a body returns besides its features; Any, since only the model that
made it knows its structure."""

Body: TypeAlias = "Callable[[jax.Array, Pass], tuple[jax.Array, Found]]"


class Pass(Protocol):
    """How a network's body applies its layers."""

    @property
    def features(self) -> int:
        """The axis of the features, to split or to join along."""
        ...

    def __call__(self, layer: LayerOf[X], x: X) -> jax.Array:
        """The layer's output."""
        ...

    def here(self, above: jax.Array) -> jax.Array:
        """What the vertical stack found, at the positions of this pass."""
        ...

    def dropout(self, x: jax.Array, rate: float) -> jax.Array:
        """Dropout in training, the identity otherwise."""
        ...

    def coarser(
        self, shrink: Shrink, grow: Grow, body: Body, x: jax.Array
    ) -> tuple[jax.Array, Found]:
        """Features that went through a body on a grid of half the rows and columns.

        ``body(x, apply)`` returns its features and a pytree of whatever else it found,
        both on the coarser grid.
        """
        ...


class ImagePass:
    """Applies layers to whole images, features first: ``[C, B, H, W]``.

    So each product of a layer, and each of its gradient's, has the positions along the
    last axis, where a processor reads them at full rate.

    Args:
        dropout_keys_B: a key for each image makes it a pass of training. A feature's
            fate depends on its image's key and its place only, not on the rest of the
            batch.
        reverse_mode: faster gradients, see `CausalLayer.reverse_mode`.
    """

    features = 0

    def __init__(
        self, dropout_keys_B: jax.Array | None = None, reverse_mode: bool = False
    ):
        self._keys_B = dropout_keys_B
        self._reverse_mode = reverse_mode
        # Counts the uses in a body, so that no two of them share their noise.
        self._dropouts = 0

    def __call__(self, layer: LayerOf[X], x: X) -> jax.Array:
        return layer.reverse_mode(x) if self._reverse_mode else layer(x)

    def here(self, above: jax.Array) -> jax.Array:
        return above

    def coarser(
        self, shrink: Shrink, grow: Grow, body: Body, x: jax.Array
    ) -> tuple[jax.Array, Found]:
        y, found = body(self(shrink, x), self)
        height, width = x.shape[2:]
        return grow.grow(y, height, width, fast=self._reverse_mode), found

    def dropout(self, x: jax.Array, rate: float) -> jax.Array:
        if self._keys_B is None or rate == 0:
            return x
        index, self._dropouts = self._dropouts, self._dropouts + 1
        shape = (x.shape[0], *x.shape[2:])  # of one image's features
        # Within uint16 and never 0: it is compared with 16 random bits, and divided by.
        kept = min(max(1, round(2**16 * (1 - rate))), 2**16 - 1)

        def keep(key: jax.Array) -> jax.Array:
            # 16 random bits per feature are enough, and twice as fast as a float's.
            key = jax.random.fold_in(key, index)
            return jax.random.bits(key, shape, jnp.uint16) < kept

        kept_CBHW = jax.vmap(keep, out_axes=1)(self._keys_B)
        # Divided by the share really kept, not by 1 - rate, so the mean is exact.
        return jnp.where(kept_CBHW, x * (2**16 / kept), 0)


class CalibratingPass(ImagePass):
    """An image pass that initialises weight-normalised layers from its batch.

    Each layer, once its input is what calibrated layers make of it, gets the scales and
    biases that give its outputs mean 0 and its first deviation. The layers are changed.
    """

    def __call__(self, layer: LayerOf[X], x: X) -> jax.Array:
        y = super().__call__(layer, x)
        if not layer.needs_calibration:
            return y
        layer.calibrate(y)
        # Applied again: the layers behind must meet its outputs as they now are.
        return super().__call__(layer, x)

    def coarser(
        self, shrink: Shrink, grow: Grow, body: Body, x: jax.Array
    ) -> tuple[jax.Array, Found]:
        y, found = body(self(shrink, x), self)
        height, width = x.shape[2:]
        # A `Grow` is never applied like other layers, so it is calibrated here.
        grow.calibrate(grow.grow(y, height, width, fast=False))
        return grow.grow(y, height, width, fast=False), found


class CachedPass:
    """Applies layers at one front of positions or one row: ``[F, B, C]``.

    It threads the layers' caches and does nothing else: ``caches`` holds the old cache
    of each layer that has not been applied yet, and the new one of each that has.

    Args:
        names: the name of each layer by its ``id``.
        caches: by the layers' names.
        at: where to step.
        works: of a row, what each layer must do there; None: everything.
    """

    features = -1

    def __init__(
        self,
        names: Mapping[int, str],
        caches: Caches,
        at: At,
        works: Works | None = None,
    ):
        # A copy: caches are values, and the caller may go back to the old ones.
        self.caches = dict(caches)
        self._names = names
        self._at = at
        self._works = works
        self._applied: dict[str, AnyLayer] = {}

    def __call__(self, layer: LayerOf[X], x: X) -> jax.Array:
        name = self._claim(layer)
        cache = self.caches[name]
        if self._works is None or not isinstance(self._at, Row):
            y, self.caches[name] = layer.step(cache, self._at, x)
        else:
            work = self._works[name]
            y, self.caches[name] = step_as_needed(layer, cache, self._at, x, work)
        return y

    @property
    def applied(self) -> dict[str, AnyLayer]:
        """The layers applied so far by name, in order."""
        return dict(self._applied)

    def _claim(self, layer: LayerOf[X]) -> str:
        name = self._names.get(id(layer))
        if name is None or name not in self.caches:
            raise ValueError(
                f"a {type(layer).__name__} has no cache: every layer that a body"
                " applies must be an attribute of its model, and the caches must come"
                " from the model's init_caches"
            )
        if name in self._applied:
            raise ValueError(
                f"layer {name} is applied twice in one pass: its cache can hold one"
                " input per position; give each use a layer of its own"
            )
        self._applied[name] = layer
        return name

    def coarser(
        self, shrink: Shrink, grow: Grow, body: Body, x: jax.Array
    ) -> tuple[jax.Array, Found]:
        # All that happens on the coarser grid, and on those that are coarser still,
        # happens only at the first position of each of its cells.
        down, up = self._claim(shrink), self._claim(grow)
        self.caches[down] = shrink.write(self.caches[down], self._at, x)
        at = self._at.on_grid(STRIDE)

        def run(inner: Caches) -> tuple[Caches, jax.Array, Found]:
            apply = CachedPass(self._names, self.caches | inner, at, self._works)
            # The same layers: one that is used on two grids is used twice as well.
            apply._applied = self._applied
            y, found = body(shrink.read(self.caches[down], at), apply)
            return {n: apply.caches[n] for n in inner}, grow.cells(at, y), found

        # Tracing `run` tells which layers the body applies, and the shapes of what it
        # finds. They are put back, since `cond` traces it again.
        outer = dict(self._applied)
        _, _, shapes = jax.eval_shape(run, self.caches)
        changed = sorted(self._applied.keys() - outer.keys())
        self._applied.clear()
        self._applied.update(outer)

        def skip(inner: Caches) -> tuple[Caches, jax.Array, Found]:
            # What is found belongs to the cell's first row; nobody reads it elsewhere.
            found = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
            return inner, grow.cells_in(self.caches[up], at), found

        # Only what the body changes goes through the conditional, and of the cache of
        # `grow` only these cells: of the whole one XLA made copies where conditionals
        # are nested.
        inner = {name: self.caches[name] for name in changed}
        begins = self._at.begins(STRIDE)
        if isinstance(begins, bool):
            inner, cells, found = (run if begins else skip)(inner)
        else:
            inner, cells, found = lax.cond(begins, run, skip, inner)
        self.caches |= inner | {up: grow.write(self.caches[up], at, cells)}
        return grow.read(cells, self._at, x.shape[0]), found

    def here(self, above: jax.Array) -> jax.Array:
        if not isinstance(self._at, Front):
            return above
        # A model with a vertical stack visits one position at a time.
        return lax.dynamic_slice_in_dim(above, self._at.columns_F[0], 1)

    def dropout(self, x: jax.Array, rate: float) -> jax.Array:
        # Only training drops features, and it never steps.
        return x
