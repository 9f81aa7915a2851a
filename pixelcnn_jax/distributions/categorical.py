"""A softmax over the levels of each channel."""

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Categorical:
    """An independent softmax over ``levels`` for each channel, given all earlier ones.

    The order of the channels is carried by the network's masks, so a pixel is drawn one
    channel a network step.
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
    def ordered_channels(self): return self.channels
    def step_log_prob(self, outputs, pixels, step):
        log_probs = jax.nn.log_softmax(outputs[..., step, :])
        return jnp.take_along_axis(log_probs, pixels[..., step, None], axis=-1)[..., 0]
    def outputs(self, raw: jax.Array, axis=-1) -> jax.Array:
        raw = jnp.moveaxis(raw, axis, -1)
        logits = raw.reshape(*raw.shape[:-1], self.channels, self.levels)
        return logits.astype(jnp.float32)

    def log_prob(self, outputs: jax.Array, images: jax.Array) -> jax.Array:
        """Log-probability of each pixel in nats, summed over its channels.

        Args:
            outputs: float32 logits ``[..., C, V]``.
            images: integers ``[..., C]`` in ``[0, V)``.

        Returns:
            float32 ``[...]``.
        """
        log_probs = jax.nn.log_softmax(outputs)
        index = images[..., None].astype(jnp.int32)
        return jnp.take_along_axis(log_probs, index, axis=-1).sum(axis=(-2, -1))

    def draw(
        self,
        pixel_keys: jax.Array,
        outputs: jax.Array,
        pixels: jax.Array,
        step: int,
        temperature: jax.Array | float,
    ) -> jax.Array:
        """The pixels with the channel of this step drawn (Gumbel-max).

        ``argmax(logits + temperature * gumbel)`` has the law of a softmax over
        ``logits / temperature``, and at temperature 0 is the likeliest level.

        Args:
            pixel_keys: one key for each pixel, ``[...]``.
            outputs: float32 logits ``[..., C, V]``.
            pixels: int32 ``[..., C]``, drawn up to channel ``step - 1``.
            step: which of the `steps_per_pixel` this is.

        Returns:
            int32 ``[..., C]``.
        """

        def gumbel(key: jax.Array) -> jax.Array:
            return jax.random.gumbel(jax.random.fold_in(key, step), (self.levels,))

        noise = jax.vmap(gumbel)(pixel_keys.reshape(-1))
        noise = noise.reshape(*pixel_keys.shape, self.levels)
        scores = outputs[..., step, :] + temperature * noise
        return pixels.at[..., step].set(jnp.argmax(scores, -1).astype(pixels.dtype))
