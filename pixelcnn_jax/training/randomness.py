"""What training draws for its images: dropout, binarisation, mutation, conditions."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pixelcnn_jax import keys


class Randomness(NamedTuple):
    """What an update draws for its images."""

    seed: int
    dropout: bool
    brightness: bool
    """Whether the images' two levels are drawn from their brightness."""
    mutation: float = 0.0
    """Share of the values that are replaced by any of the levels."""
    num_levels: int = 2
    condition_dropout: float = 0.0
    """Share of the images that are shown without their conditions."""

    def keys(self, purpose: keys.Purpose, step: jax.Array, index: jax.Array):
        """A key per image ``[B]``.

        They depend only on the seed, the step and the image's index in the set, so the
        noise is the same whatever the devices and microbatches.
        """
        key = keys.for_purpose(keys.root(self.seed), purpose)
        return jax.vmap(partial(jax.random.fold_in, jax.random.fold_in(key, step)))(
            index
        )

    def levels(self, images: jax.Array, step: jax.Array, index: jax.Array) -> jax.Array:
        """The levels ``[B, H, W, C]`` to learn from."""
        if self.brightness:
            drawn = self.keys(keys.Purpose.BINARISATION, step, index)
            images = jax.vmap(draw_levels)(drawn, images)
        if self.mutation > 0:
            drawn = self.keys(keys.Purpose.MUTATION, step, index)
            change = partial(mutate, share=self.mutation, levels=self.num_levels)
            images = jax.vmap(change)(drawn, images)
        return images

    def dropout_keys(self, step: jax.Array, index: jax.Array) -> jax.Array | None:
        """The keys ``[B]`` of dropout; None if the model has none."""
        return self.keys(keys.Purpose.DROPOUT, step, index) if self.dropout else None

    def present(self, step: jax.Array, index: jax.Array) -> jax.Array | None:
        """Whether each image's conditions are shown, bool ``[B]``; None: all are."""
        if self.condition_dropout == 0:
            return None
        drawn = self.keys(keys.Purpose.CONDITIONS, step, index)
        return ~jax.vmap(partial(jax.random.bernoulli, p=self.condition_dropout))(drawn)


def draw_levels(key: jax.Array, brightness: jax.Array) -> jax.Array:
    """Level 1 with probability ``brightness / 255``, else 0; int32."""
    noise = jax.random.uniform(key, brightness.shape) * 255
    return (noise < brightness).astype(jnp.int32)


def mutate(key: jax.Array, values: jax.Array, share: float, levels: int) -> jax.Array:
    """Each value, or with probability ``share`` any level, all as likely; int32.

    Source: J. Ren et al., *Likelihood Ratios for Out-of-Distribution Detection*, 2019,
    section 3 (https://arxiv.org/abs/1906.02845).
    """
    which, what = jax.random.split(key)
    replaced = jax.random.bernoulli(which, share, values.shape)
    by = jax.random.randint(what, values.shape, 0, levels)
    return jnp.where(replaced, by, jnp.int32(values))
