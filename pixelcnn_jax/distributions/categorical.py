"""A softmax over the levels of each channel."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from pixelcnn_jax.distributions.choice import gumbel_max, gumbel_noise
from pixelcnn_jax.distributions.layout import positions_last


@dataclasses.dataclass(frozen=True)
class Categorical:
    """A softmax over ``levels`` for each channel, given all earlier ones.

    A `Distribution`. The order of the channels is carried by the network's masks, so a
    pixel is drawn one channel per network step. Its outputs are logits
    ``[..., C, V]``.
    """

    channels: int
    levels: int

    @property
    def num_outputs(self) -> int:
        """Network outputs that a pixel needs."""
        return self.channels * self.levels

    @property
    def steps_per_pixel(self) -> int:
        """Network steps that drawing one pixel takes."""
        return self.channels

    @property
    def ordered_channels(self) -> int:
        """Channels whose order the network's masks must carry: all."""
        return self.channels

    def outputs(self, raw: jax.Array, axis: int = -1) -> jax.Array:
        """The last layer's values, ``C * V`` on ``axis``, as logits ``[..., C, V]``."""
        axis %= raw.ndim
        # Channels before levels: the masks give each channel one contiguous group.
        shape = (*raw.shape[:axis], self.channels, self.levels, *raw.shape[axis + 1 :])
        logits = raw.astype(jnp.float32).reshape(shape)
        return jnp.moveaxis(logits, (axis, axis + 1), (-2, -1))

    def log_prob(self, outputs: jax.Array, pixels: jax.Array) -> jax.Array:
        """Log-probability of each pixel in nats, summed over its channels."""
        positions = jnp.broadcast_shapes(outputs.shape[:-2], pixels.shape[:-1])
        logits = positions_last(outputs, positions, num_axes=2)
        levels = positions_last(pixels.astype(jnp.int32), positions)
        return _nats(logits, levels).sum(axis=0).reshape(positions)

    def step_log_prob(
        self, outputs: jax.Array, pixels: jax.Array, step: int
    ) -> jax.Array:
        """Nats of the channel of this step."""
        channel = slice(step, step + 1)
        one = Categorical(1, self.levels)
        return one.log_prob(outputs[..., channel, :], pixels[..., channel])

    def conditional(
        self, outputs: jax.Array, before: jax.Array, channel: int
    ) -> jax.Array:
        """Log-probabilities ``[..., V]``; the network has read ``before`` already."""
        return jax.nn.log_softmax(outputs[..., channel, :])

    def draw(
        self,
        pixel_keys: jax.Array,
        outputs: jax.Array,
        before: jax.Array,
        step: int,
        temperature: jax.Array | float,
    ) -> jax.Array:
        """The pixels with the channel of this step drawn; see `gumbel_max`."""
        noise = gumbel_noise(pixel_keys, step, self.levels)
        drawn = gumbel_max(outputs[..., step, :], noise, temperature)
        return before.at[..., step].set(drawn.astype(before.dtype))


def _nats(logits: jax.Array, levels: jax.Array) -> jax.Array:
    """Log-softmax at a level: logits ``[C, V, N]`` and levels ``[C, N]``."""
    # Against overflow. It cancels from the result, and so from the gradient.
    greatest = lax.stop_gradient(logits.max(axis=1))
    total = jnp.exp(logits - greatest[:, None]).sum(axis=1)
    # Gathered before anything is computed: a log-softmax of all levels costs a pass.
    chosen = jnp.take_along_axis(logits, levels[:, None], axis=1)
    nats = (chosen[:, 0] - greatest) - jnp.log(total)
    return jnp.where((levels >= 0) & (levels < logits.shape[1]), nats, -jnp.inf)
