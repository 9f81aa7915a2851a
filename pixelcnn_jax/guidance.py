"""Guidance: samples that follow their conditions more closely than the model does.

At each pixel the law with the conditions is taken further away from the one without,
``log p ~ log p(x) + guidance * (log p(x | c) - log p(x))``, over the levels of each
channel. Guided samples do not follow the model's likelihood.

Source: Ho and Salimans 2022, "Classifier-Free Diffusion Guidance",
https://arxiv.org/abs/2207.12598, whose rule is applied here to log-probabilities.
"""

import jax
import jax.numpy as jnp

from pixelcnn_jax.config import ModelConfig
from pixelcnn_jax.distributions import Distribution
from pixelcnn_jax.distributions.choice import gumbel_max, gumbel_noise
from pixelcnn_jax.layers import At, Conditions, Part, Row, Spec, Works
from pixelcnn_jax.walkers import Walker, WalkerState


class GuidedWalker:
    """A walker that visits every image twice, with its conditions and without.

    Its outputs ``[2, F, B, ...]`` are of the two, for the same pixels.
    """

    def __init__(self, walker: Walker):
        self._walker = walker

    @property
    def config(self) -> ModelConfig:
        return self._walker.config

    @property
    def distribution(self) -> Distribution:
        return self._walker.distribution

    @property
    def has_vertical_stack(self) -> bool:
        return self._walker.has_vertical_stack

    def init_caches(self, spec: Spec, conditions: Conditions) -> WalkerState:
        count = spec.batch_size
        twice = jax.tree.map(lambda x: _twice(jnp.asarray(x), 0), conditions)
        twice = twice._replace(present=jnp.arange(2 * count) < count)
        return self._walker.init_caches(spec._replace(batch_size=2 * count), twice)

    def start_row(
        self, caches: WalkerState, at: Row, works: Works | None = None
    ) -> WalkerState:
        return self._walker.start_row(caches, at, works)

    def known_parts(
        self, caches: WalkerState, known_rows: int, *, outputs: bool
    ) -> list[Part]:
        return self._walker.known_parts(caches, known_rows, outputs=outputs)

    def step(
        self,
        caches: WalkerState,
        at: At,
        pixels_FBC: jax.Array,
        works: Works | None = None,
    ) -> tuple[jax.Array, WalkerState]:
        outputs, caches = self._walker.step(caches, at, _twice(pixels_FBC, 1), works)
        return jnp.stack(jnp.split(outputs, 2, axis=1)), caches

    def observe(
        self, caches: WalkerState, at: At, pixels_FBC: jax.Array
    ) -> WalkerState:
        return self._walker.observe(caches, at, _twice(pixels_FBC, 1))


def _twice(x: jax.Array, axis: int) -> jax.Array:
    return jnp.concatenate([x, x], axis)


def guided_log_probs(
    distribution: Distribution,
    outputs: jax.Array,
    before: jax.Array,
    channel: int,
    guidance: jax.Array,
) -> jax.Array:
    """The guided law of a channel, up to a constant: float32 ``[..., V]``.

    Args:
        outputs: ``[2, ...]``, with the conditions and without.
        before: integers ``[..., C]``; those from ``channel`` on are not read.
        guidance: 0 leaves the conditions out, 1 is the model's own law given them.
    """
    given, free = (distribution.conditional(x, before, channel) for x in outputs)
    return free + guidance[..., None] * (given - free)


def draw_guided(
    distribution: Distribution,
    pixel_keys: jax.Array,
    outputs: jax.Array,
    before: jax.Array,
    step: int,
    temperature: jax.Array | float,
    guidance: jax.Array,
) -> jax.Array:
    """`Distribution.draw` from the guided law, channel by channel (Gumbel-max).

    The temperature divides its log-probabilities, those of a mixture too.
    """
    share = distribution.channels // distribution.steps_per_pixel
    for channel in range(step * share, (step + 1) * share):
        noise = gumbel_noise(pixel_keys, channel, distribution.levels)
        law = guided_log_probs(distribution, outputs, before, channel, guidance)
        drawn = gumbel_max(law, noise, temperature)
        before = before.at[..., channel].set(drawn.astype(before.dtype))
    return before
