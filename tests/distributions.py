"""The registry of distributions that every theorem runs over, and their inputs."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from pixelcnn_jax.distributions import (
    Categorical,
    DiscretizedLogisticMixture,
    Distribution,
)

REGISTRY: list[Distribution] = [
    Categorical(1, 4),
    Categorical(2, 3),
    Categorical(1, 256),
    DiscretizedLogisticMixture(1, 6, 3),
    DiscretizedLogisticMixture(1, 256, 5),
    DiscretizedLogisticMixture(2, 7, 1),
    DiscretizedLogisticMixture(3, 2, 2),
    DiscretizedLogisticMixture(3, 3, 2),
    DiscretizedLogisticMixture(4, 3, 2),
]
"""A new distribution gets a line here. At most 256 colours each, to visit them all."""

KEY = jax.random.key(3)
COLOUR = DiscretizedLogisticMixture(3, 16, 4)
EXTREMES = {
    "logits": [-1e4, -20.0, 0.0, 20.0, 1e4],
    "means": [-1e4, -30.0, -1.0, -0.125, 0.0, 0.5, 1.0, 2.0, 1e4],
    "log_scales": [-1e4, -30.0, -7.0, -3.0, 0.0, 4.0, 30.0, 80.0],
    "coefficients": [-1e4, -3.0, 0.0, 0.25, 1e4],
}


def join(mixture: DiscretizedLogisticMixture, logits, means, log_scales, coefficients):
    """Outputs from logits [N, M], means and log-scales [N, C, M] and the rest."""
    parts = [logits[:, None], means, log_scales, coefficients]
    outputs = np.concatenate(parts, axis=1).reshape(len(logits), mixture.num_outputs)
    return np.float32(outputs)


def random_mixture_outputs(
    mixture: DiscretizedLogisticMixture, count: int, extreme: bool = False
) -> np.ndarray:
    rng = np.random.default_rng(mixture.num_outputs + mixture.levels)
    c, m = mixture.channels, mixture.num_mixtures
    shapes = {
        "logits": (count, m),
        "means": (count, c, m),
        "log_scales": (count, c, m),
        "coefficients": (count, c * (c - 1) // 2, m),
    }
    if extreme:
        parts = {name: rng.choice(EXTREMES[name], s) for name, s in shapes.items()}
    else:
        parts = {name: rng.normal(size=s) for name, s in shapes.items()}
        parts["means"] *= 0.7
        parts["log_scales"] -= np.log(mixture.levels - 1)
    return join(mixture, **parts)


def random_outputs(
    distribution: Distribution, count: int, extreme: bool = False
) -> np.ndarray:
    """Outputs of `count` pixels, as `Distribution.outputs` returns them."""
    if isinstance(distribution, DiscretizedLogisticMixture):
        return random_mixture_outputs(distribution, count, extreme)
    rng = np.random.default_rng(distribution.num_outputs)
    raw = rng.normal(size=(count, distribution.num_outputs))
    if extreme:
        raw = rng.choice(EXTREMES["logits"], raw.shape)
    return np.asarray(distribution.outputs(jnp.asarray(raw)))


def random_levels(distribution: Distribution, count: int) -> np.ndarray:
    """Levels of which a good part lies on the edges of the grid."""
    rng = np.random.default_rng(distribution.levels)
    last = distribution.levels - 1
    levels = rng.integers(
        -last // 2, last + last // 2 + 1, (count, distribution.channels)
    )
    return np.clip(levels, 0, last).astype(np.int32)


def all_colours(distribution: Distribution) -> np.ndarray:
    """Every value of a pixel, ``[V ** C, C]``."""
    levels = range(distribution.levels)
    return np.array(list(itertools.product(levels, repeat=distribution.channels)))


@functools.partial(jax.jit, static_argnums=0)
def log_prob(distribution: Distribution, outputs, images) -> jax.Array:
    return distribution.log_prob(outputs, images)


@functools.partial(jax.jit, static_argnums=0)
def draw(distribution: Distribution, keys, outputs, temperature=1.0) -> jax.Array:
    """All channels of the pixels."""
    pixels = jnp.zeros((*keys.shape, distribution.channels), jnp.int32)
    for step in range(distribution.steps_per_pixel):
        pixels = distribution.draw(keys, outputs, pixels, step, temperature)
    return pixels
