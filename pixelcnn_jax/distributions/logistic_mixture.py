"""A mixture of logistics over the colour of a pixel, cut into bins."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

MIN_LOG_SCALE = -2.0
"""Lower bound of the log-scales, in half-widths of a bin.

At this scale the bin that a component is centred on holds 99.9 % of it, whatever the
number of levels: a smaller one would gain at most 0.0013 nats a channel, while the
gradients and the cost of a miss grow with its inverse. For 256 levels it is -7.5 in the
units of the network, near the -7 of the paper's code.
"""

MAX_LOG_SCALE_DRAWN = 60.0
"""Drawn from a larger scale, every level but the edges is as good as impossible."""

MIN_LOG_X, MAX_LOG_X = -20.0, 4.4
"""Outside, `log1mexp` equals log x or 0 to float32; inside, nothing overflows."""


class Components(NamedTuple):
    """Parameters of a pixel's M components, in half-widths of a bin."""

    logits: jax.Array
    """``[..., M]``"""
    means: jax.Array
    """``[..., C, M]``, before the earlier channels' share."""
    log_scales: jax.Array
    """``[..., C, M]``"""
    coefficients: jax.Array
    """``[..., C (C - 1) / 2, M]``, of channel c in channel d: (1, 0), (2, 0), (2, 1)"""


@dataclasses.dataclass(frozen=True)
class DiscretizedLogisticMixture:
    """One of ``num_mixtures`` logistics for each channel, integrated over bins.

    After Salimans et al. 2017, PixelCNN++ (https://arxiv.org/abs/1701.05517), sections
    2.1 and 2.2. Level k stands at ``x = 2 k / (V - 1) - 1``; its bin reaches
    ``1 / (V - 1)`` to both sides, and the first and the last bin also take the tails.
    One component is chosen for the whole pixel. Within it the mean of a channel is
    linear in the earlier channels, so the masks carry no order of channels and a pixel
    is drawn in one network step.

    Here for any number of channels and levels. As in the authors' code, the
    coefficients pass through tanh; `MIN_LOG_SCALE` takes the place of its constant.

    The outputs of a pixel are rows of M numbers: 1 of logits, C of means, C of
    log-scales (both in units of x) and C (C - 1) / 2 of coefficients.
    """

    channels: int
    levels: int
    num_mixtures: int

    @property
    def num_outputs(self) -> int:
        """Network outputs that a pixel needs."""
        pairs = self.channels * (self.channels - 1) // 2
        return self.num_mixtures * (1 + 2 * self.channels + pairs)

    @property
    def steps_per_pixel(self) -> int:
        """Network steps that drawing one pixel takes."""
        return 1

    @property
    def ordered_channels(self): return 1
    def step_log_prob(self, outputs, pixels, step):
        return self.log_prob(outputs, pixels)
    def outputs(self, raw: jax.Array, axis=-1) -> jax.Array:
        raw = jnp.moveaxis(raw, axis, -1)
        """The last layer's ``[..., num_outputs]`` as float32."""
        return raw.astype(jnp.float32)

    def log_prob(self, outputs: jax.Array, images: jax.Array) -> jax.Array:
        """Log-probability of each pixel in nats, all channels together.

        Values and gradients are finite for all outputs within 1e30 of zero.

        Args:
            outputs: float32 ``[..., num_outputs]``.
            images: integers ``[..., C]`` in ``[0, V)``.

        Returns:
            float32 ``[...]``.
        """
        components = self._components(self._rows(outputs))
        at = [self._position(images[..., c, None]) for c in range(self.channels)]
        offsets = [at[c] - _mean(components, c, at) for c in range(self.channels)]
        log_masses = _log_mass(
            jnp.stack(offsets, axis=-2),
            components.log_scales,
            is_first=images[..., None] == 0,
            is_last=images[..., None] == self.levels - 1,
        )
        log_weights = jax.nn.log_softmax(components.logits)
        return jax.nn.logsumexp(log_weights + log_masses.sum(axis=-2), axis=-1)

    def draw(
        self,
        pixel_keys: jax.Array,
        outputs: jax.Array,
        pixels: jax.Array,
        step: int,
        temperature: jax.Array | float,
    ) -> jax.Array:
        """The pixels, all channels drawn.

        The component is ``argmax(logits + temperature * gumbel)``, its scales are
        multiplied by the temperature, and every channel is rounded to its level before
        a later one reads it. At temperature 0 this is the rounded mean of the likeliest
        component.

        Args:
            pixel_keys: one key for each pixel, ``[...]``.
            outputs: float32 ``[..., num_outputs]``.
            pixels, step: not needed, for there is but one step.

        Returns:
            int32 ``[..., C]``.
        """
        gumbel, logistic = jax.vmap(self._noise)(pixel_keys.reshape(-1))
        gumbel = gumbel.reshape(*pixel_keys.shape, self.num_mixtures)
        logistic = logistic.reshape(*pixel_keys.shape, self.channels)

        rows = self._rows(outputs)
        chosen = jnp.argmax(rows[..., 0, :] + temperature * gumbel, axis=-1)
        chosen_rows = jnp.take_along_axis(rows, chosen[..., None, None], axis=-1)
        component = self._components(chosen_rows)

        # A scale of inf at temperature 0 would be nan.
        scales = jnp.exp(jnp.minimum(component.log_scales, MAX_LOG_SCALE_DRAWN))
        drawn, positions = [], []
        for c in range(self.channels):
            noise = temperature * logistic[..., c, None] * scales[..., c, :]
            value = _mean(component, c, positions) + noise
            level = jnp.clip(
                jnp.round((value + (self.levels - 1)) / 2), 0, self.levels - 1
            )
            drawn.append(level)
            positions.append(self._position(level))
        return jnp.concatenate(drawn, axis=-1).astype(jnp.int32)

    def _rows(self, outputs: jax.Array) -> jax.Array:
        return outputs.reshape(*outputs.shape[:-1], -1, self.num_mixtures)

    def _components(self, rows: jax.Array) -> Components:
        cuts = (1, 1 + self.channels, 1 + 2 * self.channels)
        logits, means, log_scales, coefficients = jnp.split(rows, cuts, axis=-2)
        return Components(
            logits[..., 0, :],
            means * (self.levels - 1),
            jnp.maximum(log_scales + math.log(self.levels - 1), MIN_LOG_SCALE),
            jnp.tanh(coefficients),
        )

    def _position(self, levels: jax.Array) -> jax.Array:
        """Where levels stand, in half-widths of a bin: x * (V - 1), a whole number.

        So the edges of bins, one to either side, are exact in float32, and neighbours
        share theirs.
        """
        return 2 * levels.astype(jnp.float32) - (self.levels - 1)

    def _noise(self, pixel_key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """A pixel's Gumbel noise ``[M]`` and logistic noise ``[C]``."""
        fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
        keys = fold(pixel_key, jnp.arange(1 + self.channels))
        gumbel = jax.random.gumbel(keys[0], (self.num_mixtures,))
        return gumbel, jax.vmap(jax.random.logistic)(keys[1:])


def _mean(
    components: Components, channel: int, earlier: Sequence[jax.Array]
) -> jax.Array:
    """Mean of a channel ``[..., M]`` from earlier channels' positions ``[..., 1]``."""
    first = channel * (channel - 1) // 2
    shares = [
        components.coefficients[..., first + c, :] * earlier[c] for c in range(channel)
    ]
    return sum(shares, start=components.means[..., channel, :])


def _log_mass(
    offsets: jax.Array, log_scales: jax.Array, is_first: jax.Array, is_last: jax.Array
) -> jax.Array:
    """Log of what logistics leave in bins at these offsets from their means.

    Between the edges a < b of a bin that is sigmoid(b) - sigmoid(a)
    = sigmoid(b) sigmoid(-a) (1 - exp(a - b)): a product, so no digits cancel in either
    tail, with b - a = 2 / scale taken directly. All arguments broadcast to ``offsets``.
    """
    shape = offsets.shape
    # On a CPU XLA vectorises the last axis, and M is short: flat, this is 4x faster.
    offsets, log_scales, is_first, is_last = (
        jnp.broadcast_to(x, shape).reshape(-1)
        for x in (offsets, log_scales, is_first, is_last)
    )
    inverse_scales = jnp.exp(-log_scales)
    below_b = jax.nn.log_sigmoid((offsets + 1) * inverse_scales)
    above_a = jax.nn.log_sigmoid((1 - offsets) * inverse_scales)
    between = log1mexp(math.log(2) - log_scales)
    # Every term is finite, so a dropped one leaves no nan in gradients.
    log_masses = (
        jnp.where(is_last, 0, below_b)
        + jnp.where(is_first, 0, above_a)
        + jnp.where(is_first | is_last, 0, between)
    )
    return log_masses.reshape(shape)


@jax.custom_jvp
def log1mexp(log_x: jax.Array) -> jax.Array:
    """``log(1 - exp(-x))`` from ``log x``, finite and exact for every x > 0.

    After Mächler 2012, Accurately Computing log(1 - exp(-|a|)). It takes the logarithm
    since x may be below the smallest float, where the value is ``log x`` itself.
    """
    x = _exp_in_range(log_x)
    small = jnp.log(-jnp.expm1(-x))
    large = jnp.log1p(-jnp.exp(-x))
    value = jnp.where(x < math.log(2), small, large)
    return jnp.where(log_x < MIN_LOG_X, log_x, value)


@log1mexp.defjvp
def _log1mexp_jvp(primals, tangents):
    (log_x,), (tangent,) = primals, tangents
    x = _exp_in_range(log_x)
    return log1mexp(log_x), x / jnp.expm1(x) * tangent


def _exp_in_range(log_x: jax.Array) -> jax.Array:
    return jnp.exp(jnp.clip(log_x, MIN_LOG_X, MAX_LOG_X))
