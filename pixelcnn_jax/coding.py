"""The compiled steps that a coder and its decoder share."""

import functools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pixelcnn_jax.devices import device_of
from pixelcnn_jax.errors import require
from pixelcnn_jax.layers import Conditions
from pixelcnn_jax.machine import deterministic
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.models.graph import split
from pixelcnn_jax.stepper import (
    Plan,
    StepperState,
    begin_steps,
    next_law,
    push_values,
)

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
    graph, params = split(model)
    count, height, width, channels = shape
    # The decoder finds the same number from the count. Another would be another
    # program, whose probabilities may be rounded otherwise.
    lanes = min(count, LANES)
    device = device_of(params)
    plan = Plan(graph, lanes, height, width, device)
    begin, advance = _programs(device.platform)
    for start in range(0, count, lanes):
        part = slice(start, min(start + lanes, count))
        # The last lanes are filled up: there is one program.
        own = jax.tree.map(
            lambda x, part=part: jnp.asarray(
                np.resize(np.asarray(x)[part], (lanes, *x.shape[1:]))
            ),
            given,
        )
        probs_BV, state = begin(plan, params, own)
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
                values_B = np.resize(values_B, lanes)
                probs_BV, state = advance(plan, params, state, values_B)


Law = tuple[jax.Array, StepperState]


@functools.cache
def _programs(platform: str) -> tuple[Callable[..., Law], Callable[..., Law]]:
    """`_begin` and `_advance`, compiled such that another process finds the same."""
    options = deterministic(platform)

    def compiled(function: Callable[..., Law]) -> Callable[..., Law]:
        @partial(jax.jit, static_argnums=0, compiler_options=options)
        def run(plan: Plan, *rest: Any) -> Law:
            # Whatever precision is set elsewhere: it is no part of a file.
            with jax.default_matmul_precision("highest"):
                return function(plan, *rest)

        return run

    return compiled(_begin), compiled(_advance)


def _begin(plan: Plan, params: nnx.State, given: Conditions) -> Law:
    """Probabilities of the first value ``[B, V]``."""
    return _law(plan, params, begin_steps(plan, params, given))


def _advance(
    plan: Plan, params: nnx.State, state: StepperState, values_B: jax.Array
) -> Law:
    """Probabilities of the value after this one ``[B, V]``."""
    return _law(plan, params, push_values(plan, params, state, values_B))


def _law(plan: Plan, params: nnx.State, state: StepperState) -> Law:
    log_probs_BV, state = next_law(plan, params, state)
    return jnp.exp(log_probs_BV), state
