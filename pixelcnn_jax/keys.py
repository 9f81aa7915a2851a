"""Random keys: one purpose each, so that no two uses ever share their noise.

`jax.random` derives keys from a key and an integer. Two uses that derive theirs from
the same root by the same integers would draw the same numbers, so every use first
folds in its purpose. All keys are threefry's, whatever implementation the caller's key
has: its noise does not depend on how a batch is cut (`rbg` ignores all but the first
key of a ``vmap``).
"""

import enum

import jax
import jax.numpy as jnp

IMPLEMENTATION = "threefry2x32"


class Purpose(enum.IntEnum):
    """What a key is for. Numbers are part of the reproducibility of runs: only add."""

    WEIGHTS = 1
    """The first weights of a model."""
    DROPOUT = 2
    """Which features an update sets to zero."""
    BINARISATION = 3
    """The levels that an update draws from brightness."""
    PREVIEW = 4
    """The samples that training draws on the way."""
    PIXELS = 5
    """The pixels of a sample."""
    INITIALISATION = 8
    """The dropout of a data-dependent initialisation."""
    MUTATION = 9
    """Which values of its images an update replaces, and by which."""
    CONDITIONS = 10
    """Which of its images an update shows without their conditions."""


def root(seed: int | jax.Array) -> jax.Array:
    """The key of a seed."""
    return jax.random.key(seed, impl=IMPLEMENTATION)


def for_purpose(key: jax.Array, purpose: Purpose) -> jax.Array:
    """The part of a key's noise that belongs to one purpose."""
    return jax.random.fold_in(key, int(purpose))


def as_threefry(key: jax.Array) -> jax.Array:
    """The key that stands for ``key``, which may be of any implementation, or old.

    Args:
        key: of ``jax.random.key`` or ``jax.random.PRNGKey``.
    """
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        if str(jax.random.key_impl(key)) == IMPLEMENTATION:
            return key
        key = jax.random.key_data(key)
    # Threefry's keys are two words; the rest of a longer key is folded in.
    first = jax.random.wrap_key_data(key[..., :2], impl=IMPLEMENTATION)
    for word in range(2, key.shape[-1]):
        first = jax.random.fold_in(first, key[..., word])
    return first
