"""The compiled steps that a coder and its decoder share."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pixelcnn_jax.errors import require
from pixelcnn_jax.layers import Conditions
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.models.graph import Graph
from pixelcnn_jax.stepper import Stepper, StepperState

LANES = 256
"""Images that are coded side by side."""

Decide = Callable[[slice, int, np.ndarray], np.ndarray]
"""From images, step and probabilities float32 ``[B, V]`` to the values ``[B]``."""


def go_through(
    model: PixelModel, shape: Sequence[int], given: Conditions, decide: Decide
) -> None:
    """Decide all values of all images, in raster order, `LANES` images side by side.

    Whoever goes through images of the same shape with the same model, decisions and
    conditions meets the same probabilities, to the last bit.

    Raises:
        UserError: the model gives probabilities that are no numbers.
    """
    # Not folded beforehand: weights that another program has computed need not be the
    # same to the last bit each time.
    split, params = nnx.split(model)
    graph = Graph(split)
    count, height, width, channels = shape
    # The decoder finds the same number from the count. Another would be another
    # program, whose probabilities may be rounded otherwise.
    lanes = min(count, LANES)
    for start in range(0, count, lanes):
        part = slice(start, min(start + lanes, count))
        # The last lanes are filled up: there is one program.
        own = jax.tree.map(
            lambda x, part=part: jnp.asarray(
                np.resize(np.asarray(x)[part], (lanes, *x.shape[1:]))
            ),
            given,
        )
        begin = partial(_begin, graph, (lanes, height, width), params, own)
        advance = partial(_advance, graph, (lanes, height, width), params, own)
        probs_BV, state = begin()
        for step in range(height * width * channels):
            real = np.asarray(probs_BV)[: part.stop - start]
            require(
                bool(np.isfinite(real).all()),
                "the probabilities of a model must be finite, got others; its weights"
                " are broken, load another checkpoint",
            )
            values_B = decide(part, step, real)
            if step + 1 < height * width * channels:
                # Lanes without an image repeat others; nobody reads their laws.
                probs_BV, state = advance(state, np.resize(values_B, lanes))


Size = tuple[int, int, int]
"""Lanes, height, width."""


def _stepper(
    graph: Graph,
    size: Size,
    params: nnx.State,
    given: Conditions,
) -> Stepper:
    model = nnx.merge(graph.graph, params)
    return Stepper(
        model,
        size[0],
        labels=given.labels,
        condition=given.condition,
        condition_map=given.condition_map,
        size=size[1:],
    )


@partial(jax.jit, static_argnums=(0, 1))
def _begin(
    graph: Graph,
    size: Size,
    params: nnx.State,
    given: Conditions,
) -> tuple[jax.Array, StepperState]:
    """Probabilities of the first value ``[B, V]``."""
    stepper = _stepper(graph, size, params, given)
    log_probs_BV, state = stepper.next(stepper.begin())
    return jnp.exp(log_probs_BV), state


@partial(jax.jit, static_argnums=(0, 1))
def _advance(
    graph: Graph,
    size: Size,
    params: nnx.State,
    given: Conditions,
    state: StepperState,
    values_B: jax.Array,
) -> tuple[jax.Array, StepperState]:
    """Probabilities of the value after this one ``[B, V]``."""
    stepper = _stepper(graph, size, params, given)
    log_probs_BV, state = stepper.next(stepper.push(state, values_B))
    return jnp.exp(log_probs_BV), state
