"""A mixture of logistics over the colour of a pixel, cut into bins."""

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pixelcnn_jax.distributions.choice import gumbel, gumbel_max
from pixelcnn_jax.distributions.layout import positions_last
from pixelcnn_jax.distributions.logistic import log_bin_mass

MIN_LOG_SCALE = -2.0
"""Lower bound of the log-scales, in half-widths of a bin.

At this scale the bin that a component is centred on holds 99.9 % of it, whatever the
number of levels: a smaller one would gain at most 0.0013 nats per channel, while the
gradients and the cost of a miss grow with its inverse. For 256 levels it is -7.5 in the
units of the network, near the -7 of the paper's code.
"""

LEAST_NOISE = -16.0
"""Lower bound of the logistic noise; its upper end is 15.94.

JAX makes it of a uniform number of 23 random bits. Where all are 0 that number stands
for everything below 2**-23, but is taken to be 1e-38, of which the logistic is -87: one
draw of eight million would be a level that the likelihood calls impossible.
"""

MAX_LOG_SCALE_DRAWN = 60.0
"""Drawn from a larger scale, every level but the edges is as good as impossible."""


class Components(NamedTuple):
    """Parameters of a pixel's M components, in half-widths of a bin.

    All arrays have one shape, of which M is an axis.
    """

    logits: jax.Array
    means: Sequence[jax.Array]
    """For each channel, before the earlier channels' share."""
    log_scales: Sequence[jax.Array]
    """For each channel."""
    coefficients: Sequence[jax.Array]
    """``C (C - 1) / 2``, of channel c in channel d: (1, 0), (2, 0), (2, 1), ..."""

    def mean(self, channel: int, earlier: Sequence[jax.Array]) -> jax.Array:
        """Mean of a channel, given where the earlier channels stand."""
        first = channel * (channel - 1) // 2
        shares = [self.coefficients[first + c] * earlier[c] for c in range(channel)]
        return sum(shares, start=self.means[channel])


@dataclasses.dataclass(frozen=True)
class DiscretizedLogisticMixture:
    """One of ``num_mixtures`` logistics for each channel, integrated over bins.

    A `Distribution`. After Salimans et al. 2017, PixelCNN++
    (https://arxiv.org/abs/1701.05517), sections 2.1 and 2.2. Level k stands
    at ``x = 2 k / (V - 1) - 1``; its bin reaches ``1 / (V - 1)`` to both sides, and the
    first and the last bin also take the tails.
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
    def ordered_channels(self) -> int:
        """Channels whose order the network's masks must carry: none but the pixel."""
        return 1

    def outputs(self, raw: jax.Array, axis: int = -1) -> jax.Array:
        """The last layer's values, P on ``axis``, as float32 ``[..., P]``."""
        return jnp.moveaxis(raw.astype(jnp.float32), axis, -1)

    def log_prob(self, outputs: jax.Array, pixels: jax.Array) -> jax.Array:
        """Log-probability of each pixel in nats, all channels together.

        Values and gradients are finite for all outputs within 1e30 of zero.
        """
        positions = jnp.broadcast_shapes(outputs.shape[:-1], pixels.shape[:-1])
        components = self._components(self._rows(outputs, positions))
        levels = positions_last(pixels.astype(jnp.int32), positions)
        nats = jax.nn.logsumexp(self._log_joint(components, levels), axis=0)
        on_grid = ((levels >= 0) & (levels < self.levels)).all(axis=0)
        return jnp.where(on_grid, nats, -jnp.inf).reshape(positions)

    def step_log_prob(
        self, outputs: jax.Array, pixels: jax.Array, step: int
    ) -> jax.Array:
        """`log_prob`: the only step draws the whole pixel."""
        return self.log_prob(outputs, pixels)

    def conditional(
        self, outputs: jax.Array, before: jax.Array, channel: int
    ) -> jax.Array:
        """Log-probabilities ``[..., V]`` of a channel's levels.

        A mixture again, its components weighed by what they gave the earlier channels.
        """
        positions = jnp.broadcast_shapes(outputs.shape[:-1], before.shape[:-1])
        components = self._components(self._rows(outputs, positions))
        earlier = positions_last(before.astype(jnp.int32), positions)[:channel]
        # Normalised before a channel is added: joints may be too large to subtract.
        log_weights = jax.nn.log_softmax(self._log_joint(components, earlier), axis=0)
        levels = jnp.arange(self.levels)[:, None, None]
        log_masses = self._log_mass(components, channel, levels, earlier)
        nats = jax.nn.logsumexp(log_weights + log_masses, axis=1)
        return jnp.moveaxis(nats, 0, -1).reshape(*positions, self.levels)

    def draw(
        self,
        pixel_keys: jax.Array,
        outputs: jax.Array,
        before: jax.Array,
        step: int,
        temperature: jax.Array | float,
    ) -> jax.Array:
        """The pixels, all channels drawn.

        The component is ``argmax(logits + temperature * gumbel)``, its scales are
        multiplied by the temperature, and every channel is rounded to its level before
        a later one reads it. At temperature 0 this is the rounded mean of the likeliest
        component. ``before`` and ``step`` are not needed: there is only one step.
        """
        noise, logistic = jax.vmap(self._noise)(pixel_keys.reshape(-1))
        noise = noise.reshape(*pixel_keys.shape, self.num_mixtures)
        logistic = logistic.reshape(*pixel_keys.shape, self.channels)

        rows = outputs.reshape(*outputs.shape[:-1], -1, self.num_mixtures)
        chosen = gumbel_max(rows[..., 0, :], noise, temperature)
        row = jnp.take_along_axis(rows, chosen[..., None, None], axis=-1)[..., 0]
        component = self._components(list(jnp.moveaxis(row, -1, 0)))

        drawn, positions = [], []
        for c in range(self.channels):
            # A scale of inf at temperature 0 would be nan.
            scale = jnp.exp(jnp.minimum(component.log_scales[c], MAX_LOG_SCALE_DRAWN))
            noise = temperature * logistic[..., c] * scale
            value = component.mean(c, positions) + noise
            # The inverse of `_position`; what lies outside belongs to the edge bins.
            level = jnp.clip(
                jnp.round((value + (self.levels - 1)) / 2), 0, self.levels - 1
            )
            drawn.append(level)
            positions.append(self._position(level))
        return jnp.stack(drawn, axis=-1).astype(jnp.int32)

    def _rows(
        self, outputs: jax.Array, positions: Sequence[int]
    ) -> Sequence[jax.Array]:
        """The rows of parameters, each ``[M, N]``."""
        rows = positions_last(outputs, positions)
        rows = rows.reshape(-1, self.num_mixtures, rows.shape[-1])
        # Split, not sliced: the gradient of slices is a sum of padded arrays, which
        # took most of the time.
        return [row[0] for row in jnp.split(rows, len(rows))]

    def _components(self, rows: Sequence[jax.Array]) -> Components:
        c = self.channels
        # From x to half-widths of a bin, 1 / (V - 1); the coefficients have no unit.
        shift = math.log(self.levels - 1)
        return Components(
            rows[0],
            [row * (self.levels - 1) for row in rows[1 : 1 + c]],
            [jnp.maximum(r + shift, MIN_LOG_SCALE) for r in rows[1 + c : 1 + 2 * c]],
            [jnp.tanh(row) for row in rows[1 + 2 * c :]],
        )

    def _log_joint(self, components: Components, levels: jax.Array) -> jax.Array:
        """Log-probability of each component and the first channels' levels.

        Args:
            components: of arrays ``[M, N]``.
            levels: ``[n, N]``, the first n channels.

        Returns:
            ``[M, N]``.
        """
        log_weights = jax.nn.log_softmax(components.logits, axis=0)
        log_masses = [
            self._log_mass(components, c, levels[c], levels[:c])
            for c in range(len(levels))
        ]
        return sum(log_masses, start=log_weights)

    def _log_mass(
        self,
        components: Components,
        channel: int,
        levels: jax.Array,
        earlier: jax.Array,
    ) -> jax.Array:
        """Log of what each component leaves for these levels of a channel."""
        mean = components.mean(channel, [self._position(level) for level in earlier])
        return log_bin_mass(
            self._position(levels) - mean,
            components.log_scales[channel],
            is_first=levels == 0,
            is_last=levels == self.levels - 1,
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
        # A key for each number, so that a channel's noise does not depend on M.
        keys = fold(pixel_key, jnp.arange(1 + self.channels))
        logistic = jax.vmap(partial(jax.random.logistic, dtype=jnp.float32))(keys[1:])
        noise = gumbel(keys[0], self.num_mixtures)
        return noise, jnp.maximum(logistic, LEAST_NOISE)
