"""One channel after another: the conditionals of a model, for algorithms of one's own.

Constrained sampling, beam search, Metropolis proposals or a codec need the law of the
next value, choose it as they like, and go on from there.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.core import Tracer

from pixelcnn_jax.arguments import require_count, require_range
from pixelcnn_jax.devices import device_of
from pixelcnn_jax.errors import require
from pixelcnn_jax.layers import Conditions, Front, Row, Spec
from pixelcnn_jax.memory import bytes_of, require_memory, room_of
from pixelcnn_jax.models.base import ModelCaches, PixelModel
from pixelcnn_jax.models.graph import Graph, split
from pixelcnn_jax.models.input_checks import require_conditions, require_model, size_for

Array = jax.Array | np.ndarray


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StepperState:
    """Where a batch of images stands; a pytree."""

    index: jax.Array
    """int32: values pushed so far, ``(row * W + column) * C + channel``."""
    pixel: jax.Array
    """int32 ``[B, C]``, the current pixel; its channels from the next one on are 0."""
    outputs: jax.Array
    """What the network put out last, ``[1, B, ...]``."""
    caches: ModelCaches


class Stepper:
    """The law of each value of an image, one after another in raster order.

        stepper = Stepper(model, batch_size)
        state = stepper.begin()
        for _ in range(stepper.num_values):
            log_probs_BV, state = stepper.next(state)
            state = stepper.push(state, choose(log_probs_BV))

    All three methods are pure and compiled, and work inside ``jit`` and ``lax.scan``: a
    state is a value, and an older one can be gone back to. Each costs one position of
    the network, not an image. Later changes of the model's parameters do not reach it.

    Args:
        model: a model of this package, such as `PixelCNN`.
        batch_size: B, images that go side by side.
        labels, condition, condition_map: of each image; see `sample`.
        size: height and width; None: those of the training images.

    Raises:
        UserError: a batch size below 1, conditions that do not fit, a size
            that is none.
    """

    def __init__(
        self,
        model: PixelModel,
        batch_size: int,
        *,
        labels: Array | None = None,
        condition: Array | None = None,
        condition_map: Array | None = None,
        size: tuple[int, int] | None = None,
    ):
        require_model(model)
        batch_size = require_count("batch_size", batch_size)
        size = size_for(model, size)
        conditions = Conditions(labels, condition, condition_map)
        require_conditions(model, conditions, (batch_size, *size))
        # Copied: what was checked is not to change.
        self._conditions = jax.tree.map(jnp.array, conditions)
        graph, self._params = split(model)
        device = device_of(self._params)
        self._plan = Plan(graph, batch_size, *size, device)
        self.height, self.width = size
        self.channels, self._levels = model.config.channels, model.config.levels

    @property
    def num_values(self) -> int:
        """Values of an image, H * W * C: what follows them means nothing."""
        return self.height * self.width * self.channels

    def begin(self) -> StepperState:
        """Before the first value."""
        return begin_steps(self._plan, self._params, self._conditions)

    def next(self, state: StepperState) -> tuple[jax.Array, StepperState]:
        """The law of the next value.

        Returns:
            log-probabilities float32 ``[B, V]`` of its levels, in nats, and the state
            to push the value to: `push` needs what is computed here.

        Raises:
            UserError: all values are known; inside ``jit`` what follows means nothing.
        """
        _require_state(state)
        self._require_a_next(state.index)
        return next_law(self._plan, self._params, state)

    def push(self, state: StepperState, values: jax.Array | np.ndarray) -> StepperState:
        """The state once the next value of each image is known.

        Args:
            state: what `next` returned.
            values: integers ``[B]`` in ``[0, levels)``; inside ``jit`` the range is not
                checked.

        Raises:
            UserError: they have another shape, type or range.
        """
        _require_state(state)
        require(
            hasattr(values, "dtype"),
            f"values must be an array, got {type(values).__name__}; pass it to"
            " np.asarray",
        )
        shape, dtype = values.shape, values.dtype
        require(
            shape == (self._plan.batch_size,) and jnp.issubdtype(dtype, jnp.integer),
            f"values must be integers [{self._plan.batch_size}], one for each image,"
            f" got {dtype} {list(shape)}",
        )
        require_range("values", values, self._levels)
        if isinstance(values, np.ndarray):
            # Copied here: JAX may read it later, when the caller has filled it again.
            values = np.array(values, np.int32)
        return push_values(
            self._plan, self._params, state, jnp.asarray(values, jnp.int32)
        )

    def _require_a_next(self, index: jax.Array) -> None:
        """Raise if the last value was pushed; a position that is traced passes."""
        if isinstance(index, Tracer) or not index.is_fully_addressable:
            return
        # Asked for by name, which a transfer guard allows.
        pushed = int(jax.device_get(index))
        require(
            pushed < self.num_values,
            f"a state must have a next value, one of {self.num_values}, got one of"
            f" {pushed} values pushed; begin again",
        )


class Plan(NamedTuple):
    """What the steps are compiled for."""

    graph: Graph
    batch_size: int
    height: int
    width: int
    device: Any
    """That makes them, whose memory is to suffice."""

    def model(self, params: nnx.State) -> PixelModel:
        """The model with these parameters."""
        return self.graph.model(params)


@partial(jax.jit, static_argnums=0)
def begin_steps(plan: Plan, params: nnx.State, given: Conditions) -> StepperState:
    """`Stepper.begin`."""
    model = plan.model(params)
    pixel = jnp.zeros((plan.batch_size, model.config.channels), jnp.int32)
    caches = model.init_caches(Spec(plan.batch_size, plan.height, plan.width), given)
    require_memory(
        f"what is remembered of {plan.batch_size} images side by side",
        bytes_of(caches),
        "take fewer at a time",
        there=room_of(plan.device).there,
    )
    origin = Front(jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32))
    # States are carried by loops, so they have their final shapes from the start.
    shapes = jax.eval_shape(model.step, caches, origin, pixel[None])
    outputs = jnp.zeros(shapes[0].shape, shapes[0].dtype)
    return StepperState(jnp.int32(0), pixel, outputs, caches)


@partial(jax.jit, static_argnums=0)
def next_law(
    plan: Plan, params: nnx.State, state: StepperState
) -> tuple[jax.Array, StepperState]:
    """`Stepper.next`, without its checks."""
    model = plan.model(params)
    channel = state.index % model.config.channels
    state = _with_outputs(plan, model, state, channel)
    # The channel is a traced number, and `conditional` takes a static one.
    laws = [
        partial(model.distribution.conditional, state.outputs[0], state.pixel, c)
        for c in range(model.config.channels)
    ]
    return lax.switch(channel, laws), state


def _with_outputs(
    plan: Plan, model: PixelModel, state: StepperState, channel: jax.Array
) -> StepperState:
    """The state after the network's step, if it takes one for this channel."""
    front = _front(plan, model, state)
    first = channel == 0

    def start_row(caches: ModelCaches) -> ModelCaches:
        return model.start_row(caches, Row(front.rows_F[0]))

    def step(state: StepperState) -> StepperState:
        outputs, caches = model.step(state.caches, front, state.pixel[None])
        return dataclasses.replace(state, outputs=outputs, caches=caches)

    if model.has_vertical_stack:
        # Once per row, when all rows above are known.
        begins = first & (front.columns_F[0] == 0)
        caches = lax.cond(begins, start_row, lambda x: x, state.caches)
        state = dataclasses.replace(state, caches=caches)
    if model.distribution.steps_per_pixel == model.config.channels:
        return step(state)
    # The network steps once for a pixel, and the distribution does the rest.
    return lax.cond(first, step, lambda x: x, state)


@partial(jax.jit, static_argnums=0)
def push_values(
    plan: Plan, params: nnx.State, state: StepperState, values_B: jax.Array
) -> StepperState:
    """`Stepper.push`, without its checks."""
    model = plan.model(params)
    channels = model.config.channels
    channel = state.index % channels
    pixel = state.pixel.at[:, channel].set(values_B)
    front = _front(plan, model, state)
    # Caches take whole pixels only. The next one begins with zeros, so that what a
    # step reads beyond the known channels is the same for coder and decoder.
    caches, pixel = lax.cond(
        channel == channels - 1,
        lambda caches: (
            model.observe(caches, front, pixel[None]),
            jnp.zeros_like(pixel),
        ),
        lambda caches: (caches, pixel),
        state.caches,
    )
    return StepperState(state.index + 1, pixel, state.outputs, caches)


def _front(plan: Plan, model: PixelModel, state: StepperState) -> Front:
    position = state.index // model.config.channels
    return Front((position // plan.width)[None], (position % plan.width)[None])


def _require_state(state: object) -> None:
    require(
        isinstance(state, StepperState),
        f"state must be what begin, next or push returned, got {type(state).__name__}",
    )
