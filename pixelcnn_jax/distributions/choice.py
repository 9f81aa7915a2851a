"""The draw of one of several by its logit."""

import jax
import jax.numpy as jnp


def gumbel_noise(pixel_keys: jax.Array, channel: int, levels: int) -> jax.Array:
    """The noise of a channel of each pixel, float32 ``[..., levels]``.

    Args:
        pixel_keys: keys ``[...]``.
        channel: its index.
    """

    def of_pixel(key: jax.Array) -> jax.Array:
        return jax.random.gumbel(jax.random.fold_in(key, channel), (levels,))

    noise = jax.vmap(of_pixel)(pixel_keys.reshape(-1))
    return noise.reshape(*pixel_keys.shape, levels)


def gumbel_max(
    logits: jax.Array, gumbel: jax.Array, temperature: jax.Array | float
) -> jax.Array:
    """``argmax(logits + temperature * gumbel)``, integers ``[...]``.

    It has the law of a softmax over ``logits / temperature``, and at temperature 0 is
    the likeliest.

    Args:
        logits: ``[..., V]``, up to a constant.
        gumbel: Gumbel noise of the same shape.
    """
    # The likeliest at 0: far from there float32 would round the noise away.
    logits = logits - logits.max(-1, keepdims=True)
    return jnp.argmax(logits + temperature * gumbel, axis=-1)
