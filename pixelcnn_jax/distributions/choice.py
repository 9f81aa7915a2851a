"""The draw of one of several by its logit."""

import jax
import jax.numpy as jnp

FEW = 32
"""Choices whose draws are off by at most 4e-6 in all with noise of 23 bits."""


def gumbel(key: jax.Array, count: int) -> jax.Array:
    """Gumbel noise float32 ``[count]``, whatever JAX's default type is.

    Of 23 bits, as JAX makes it by default, it ends at 16: a choice less likely than
    1e-7 is hardly ever drawn. Of many such choices, as of thousands of codes, that
    would leave out what together is not unlikely, so they get noise of more bits, which
    takes longer.
    """
    mode = "low" if count <= FEW else "high"
    return jax.random.gumbel(key, (count,), jnp.float32, mode=mode)


def gumbel_noise(pixel_keys: jax.Array, channel: int, levels: int) -> jax.Array:
    """The noise of a channel of each pixel, float32 ``[..., levels]``.

    Args:
        pixel_keys: keys ``[...]``.
        channel: its index.
    """

    def of_pixel(key: jax.Array) -> jax.Array:
        return gumbel(jax.random.fold_in(key, channel), levels)

    noise = jax.vmap(of_pixel)(pixel_keys.reshape(-1))
    return noise.reshape(*pixel_keys.shape, levels)


def gumbel_max(
    logits: jax.Array, noise: jax.Array, temperature: jax.Array | float
) -> jax.Array:
    """``argmax(logits + temperature * noise)``, integers ``[...]``.

    It has the law of a softmax over ``logits / temperature``, and at temperature 0 is
    the likeliest.

    Args:
        logits: ``[..., V]``, up to a constant.
        noise: Gumbel noise of the same shape.
    """
    # The likeliest at 0: far from there float32 would round the noise away.
    logits = logits - logits.max(-1, keepdims=True)
    return jnp.argmax(logits + temperature * noise, axis=-1)
