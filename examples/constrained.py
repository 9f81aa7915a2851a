"""Draws images with exactly so many bright pixels, by a stepper.

    python examples/constrained.py --bright 70

Each value is drawn from the model's law of it, among the values that still allow the
number to come out. So every image has the number, but images that had to be forced are
too frequent. The weight of an image is the probability that its steps left to it. One
of many candidates that is drawn by weight is an image of the model given the number,
the better the more candidates there are.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx

import pixelcnn_jax as pj


@dataclasses.dataclass(frozen=True)
class Settings:
    workdir: str = "digits"
    """A run whose model has no classes, or the shipped model."""
    bright: int = 70
    """How many pixels are to be bright: in the upper half of the levels."""
    candidates: int = 256
    """Images drawn side by side, to choose from."""
    seed: int = 0
    """Another one draws other images."""


@partial(jax.jit, static_argnums=(0, 3))
def draw(
    graph: nnx.GraphDef[pj.PixelModel],
    params: nnx.State,
    key: jax.Array,
    count: int,
    bright: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Images ``[B, H, W, C]`` with so many bright values, and log-weights ``[B]``."""
    model = nnx.merge(graph, params)
    stepper = pj.Stepper(model, count)
    is_bright_V = jnp.arange(model.config.levels) >= model.config.levels / 2

    def step(carry, inputs):
        state, missing_B, log_weight_B = carry
        key, place = inputs
        log_probs_BV, state = stepper.next(state)
        rest = stepper.num_values - place  # values to come, this one included
        may_be_dark, may_be_bright = missing_B < rest, missing_B > 0
        allowed_BV = jnp.where(
            is_bright_V, may_be_bright[:, None], may_be_dark[:, None]
        )
        log_probs_BV = jnp.where(allowed_BV, log_probs_BV, -jnp.inf)
        log_weight_B += jax.nn.logsumexp(log_probs_BV, axis=1)
        values_B = jax.random.categorical(key, log_probs_BV)
        missing_B -= is_bright_V[values_B]
        return (stepper.push(state, values_B), missing_B, log_weight_B), values_B

    start = (stepper.begin(), jnp.full(count, bright), jnp.zeros(count))
    keys = jax.random.split(key, stepper.num_values)
    inputs = (keys, jnp.arange(stepper.num_values))
    (_, _, log_weight_B), values_TB = jax.lax.scan(step, start, inputs)
    shape = (count, stepper.height, stepper.width, stepper.channels)
    return values_TB.T.reshape(shape), log_weight_B


def main(settings: Settings) -> None:
    model = pj.load(settings.workdir)
    key, choice = jax.random.split(jax.random.key(settings.seed))
    graph, params = nnx.split(model)
    images, log_weights = draw(
        graph, params, key, settings.candidates, jnp.int32(settings.bright)
    )
    weights = jax.nn.softmax(log_weights)
    print(f"effective candidates: {1 / (weights**2).sum():.1f} of {len(images)}")
    image = np.asarray(images[jax.random.categorical(choice, log_weights)])
    print(f"bright pixels: {(image >= model.config.levels / 2).sum()}")
    for row in image[..., 0]:
        print(
            "".join(" .:-=+*#%@"[9 * x // (model.config.levels - 1)] * 2 for x in row)
        )


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
