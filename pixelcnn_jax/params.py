"""A model's parameters as plain values."""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.traverse_util import unflatten_dict

Model = TypeVar("Model", bound=nnx.Module)

Params = dict[str, jax.Array]
"""Such as ``{"blocks.0.reduce.kernel": array, ...}``: plain values for ``jax.grad``,
Optax and Orbax."""


def to_params(model: Model) -> tuple[nnx.GraphDef[Model], Params]:
    """A model as its graph, which is static, and its parameters by name."""
    graph, state = nnx.split(model)
    flat = nnx.to_flat_state(state)
    return graph, {".".join(map(str, path)): x.get_value() for path, x in flat}


def unbound(params: Params) -> Params:
    """Copies that are bound to no device, as those of a new model: they go where what
    they are used with lies."""
    return {name: jnp.array(np.asarray(x)) for name, x in params.items()}


def from_params(graph: nnx.GraphDef[Model], params: Params) -> Model:
    """The model that `to_params` took apart, with these parameters."""

    def path(name: str) -> tuple[str | int, ...]:
        # Flax's paths have integers for the places in an nnx.List.
        return tuple(int(p) if p.isdecimal() else p for p in name.split("."))

    state = {path(name): value for name, value in params.items()}
    return nnx.merge(graph, unflatten_dict(state))
