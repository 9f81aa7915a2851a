"""The contract of a layer, and what a step is told."""

import dataclasses
from typing import Any, Generic, NamedTuple, TypeAlias, TypedDict, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

X = TypeVar("X")
"""The input of a layer: features, or a tuple of what it takes."""
C = TypeVar("C")
"""The cache of a layer: a pytree of arrays; ``()`` if it remembers nothing."""

Array: TypeAlias = jax.Array | np.ndarray

Caches: TypeAlias = dict[str, Any]
"""The cache of each layer by its name; Any, since only the layer knows its own."""


class Conditions(NamedTuple):
    """What images are conditioned on, as it is given; a pytree."""

    labels: Array | None = None
    """Integers ``[B]``, the class of each image; None for a model without classes."""
    condition: Array | None = None
    """Floats ``[B, D]``, a vector for each image; None for a model without."""
    condition_map: Array | None = None
    """``[B, h, w, D]``, floats, or integers in ``[0, condition_levels)``, of a height
    and width that divide the image's; None for a model without."""
    present: Array | None = None
    """bool ``[B]``, whether the image's conditions count; None: they do."""


class OtherConditions(TypedDict):
    """The conditions of `Conditions` but for the labels, as arguments by name."""

    condition: np.ndarray | None
    condition_map: np.ndarray | None


NO_CONDITIONS = Conditions()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ReadConditions:
    """What a model has made of its conditions, once per image, for all its layers."""

    labels: jax.Array | None = None
    """int32 ``[B]``; -1 stands for none."""
    vector: jax.Array | None = None
    """float32 ``[B, P]``, what holds for the whole image; zeros stand for none."""
    map: jax.Array | None = None
    """float32 ``[E, B, h, w]``, what holds for a place; zeros stand for none."""
    repeats: tuple[int, int] = dataclasses.field(
        default=(1, 1), metadata=dict(static=True)
    )
    """Rows and columns of the image for each of the map's."""


NOTHING_READ = ReadConditions()
"""For steps: `init_cache` has put what layers need in their caches."""


class Front(NamedTuple):
    """Positions that are computed together, one step of a walk."""

    rows_F: jax.Array
    columns_F: jax.Array
    phase: tuple[int, int] | None = None
    """Row and column of a front of one position within a cell of the coarsest grid, in
    a walk that is compiled for each of them; None: nothing is known before it runs."""

    def on_grid(self, scale: int) -> "Front":
        """The positions of a grid of every ``scale``-th row and column they lie in."""
        phase = self.phase and (self.phase[0] // scale, self.phase[1] // scale)
        return Front(self.rows_F // scale, self.columns_F // scale, phase)

    def begins(self, scale: int) -> jax.Array | bool:
        """Whether a front of one position is the first of its cell of that grid."""
        if self.phase is not None:
            return all(place % scale == 0 for place in self.phase)
        # A front of several positions would begin its cells at different steps: a model
        # with coarser grids is walked one position at a time.
        return (self.rows_F[0] % scale == 0) & (self.columns_F[0] % scale == 0)


class Row(NamedTuple):
    """All positions of one row."""

    row: jax.Array
    phase: int | None = None
    """As a front's."""

    def on_grid(self, scale: int) -> "Row":
        """The row of a grid of every ``scale``-th row that it lies in."""
        phase = None if self.phase is None else self.phase // scale
        return Row(self.row // scale, phase)

    def begins(self, scale: int) -> jax.Array | bool:
        """Whether it is the first of the rows that share a row of that grid."""
        if self.phase is not None:
            return self.phase % scale == 0
        return self.row % scale == 0


At: TypeAlias = Front | Row
"""Where a step is: axis F of a front's features is W for a row's."""


class Spec(NamedTuple):
    """What caches are made for."""

    batch_size: int
    height: int
    width: int
    rows: int = 1
    """Neighbouring rows that a front spans."""
    conditions: ReadConditions = NOTHING_READ

    def on_grid(self, scale: int) -> "Spec":
        """The same for a grid of every ``scale``-th row and column, rounded up."""
        # `rows` stays: a ring with a row too many is still right.
        height, width = (-(-size // scale) for size in (self.height, self.width))
        return self._replace(height=height, width=width)


class CausalLayer(nnx.Module, Generic[X, C]):
    """A layer whose output at a position depends on more than that position's input.

    To write a layer, subclass this with the types of its input and its cache, and give
    it

    * ``__call__(x)``: the image pass, features first: all positions of whole images,
      ``[C, B, H, W]`` to ``[D, B, H, W]``.
    * ``init_cache(spec)``: what its step must remember, before anything is known.
    * ``step(cache, at, x)``: the outputs at one front of positions or one row,
      ``[F, B, C]`` to ``[F, B, D]``, and the new cache. It must equal the image pass at
      those positions once all earlier ones have been stepped through: share the
      arithmetic of the two, and let them differ only in where the context comes from.
    * ``observe(cache, at, x)``: the cache once the pixels at these positions are known,
      if it must hold them: that of first layers, and of attention, whose keys contain
      the pixel.
    * ``lag``: see `masks.lag`.
    * ``rows_above``: how many rows above its own its step reads from the cache, if not
      all.
    * ``scale``: its input lies on a grid of every ``scale``-th row and column.

    Its parameters are `nnx.Param`, all else is static: module leaves are parameters.
    A model's body applies it by ``apply(layer, x)``, under any pass.
    """

    scale: int = 1
    needs_calibration: bool = False
    """Whether its first parameters come from a batch of images; see `calibrate`."""

    def __call__(self, x: X) -> jax.Array:
        """The image pass."""
        raise NotImplementedError(f"{type(self).__name__} must define the image pass")

    def reverse_mode(self, x: X) -> jax.Array:
        """The image pass of training: the same values, and a faster gradient if there
        is one, at the price of forward-mode differentiation."""
        return self(x)

    def calibrate(self, y_DBHW: jax.Array) -> None:
        """Initialise parameters from the layer's outputs for a first batch, if
        `needs_calibration`."""

    def fold(self) -> None:
        """Replace parameters by what is computed of them, so that no step computes it
        again. Afterwards the layer can be applied, not trained."""

    def init_cache(self, spec: Spec) -> C:
        """An empty cache, for the grid that the layer's input lies on."""
        raise NotImplementedError(f"{type(self).__name__} must define init_cache")

    def step(self, cache: C, at: At, x: X) -> tuple[jax.Array, C]:
        """The outputs at these positions, and the new cache."""
        raise NotImplementedError(f"{type(self).__name__} must define step")

    def observe(self, cache: C, at: At, x_FBC: jax.Array) -> C:
        """The cache once the encoded pixels at these positions are known."""
        # A hidden layer's step has written its input already; only pixels come later.
        return cache

    @property
    def lag(self) -> int | None:
        """Columns a row must stay behind the row above; None: rows can't overlap."""
        # The least a wavefront can have: right for layers that read no neighbours.
        return 1

    @property
    def rows_above(self) -> int | None:
        """Rows of its grid, above its own, whose inputs a step reads; None: all."""
        # Right for every layer; a number spares a prefill some work.
        return None


def start_indices(*start: jax.Array | int) -> list[jax.Array]:
    """Where a slice starts: of one type, as JAX wants it, also where integers have 64
    bits."""
    return [jnp.asarray(x, jnp.int32) for x in start]


LayerOf: TypeAlias = CausalLayer[X, Any]
"""A layer with this input; Any cache, since only the layer knows its own."""

AnyLayer: TypeAlias = CausalLayer[Any, Any]
"""Any layer, for what is the same for all."""
