"""Checks of what users give to functions."""

import math
import os
from pathlib import Path
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from pixelcnn_jax.errors import UserError, require

Scalar: TypeAlias = float | jax.Array

MAX_IMAGES = 2**31 - 1
"""Images are counted in 32 bits, as keys fold them in."""


def require_count(name: str, value: object) -> None:
    """Raise unless ``value`` is a number of images."""
    require(
        _is_integer(value) and 1 <= int(value) <= MAX_IMAGES,  # type: ignore[arg-type]
        f"{name} must be an integer of at least 1 and below 2**31, got {value!r};"
        " try 64",
    )


def require_size(size: object) -> None:
    """Raise unless ``size`` is the height and the width of an image."""
    require(
        # Below 2**15 each, so that a position row * W + column fits in 32 bits.
        isinstance(size, tuple)
        and len(size) == 2
        and all(_is_integer(x) and 1 <= x < 2**15 for x in size),
        f"size must be (height, width), two integers from 1 to {2**15 - 1}, got"
        f" {size!r}; leave it out for the size of the training images",
    )


def _is_integer(value: object) -> bool:
    # To Python, True is an integer.
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def require_temperature(temperature: object) -> None:
    """Raise unless it is a number of at least 0; inside ``jit`` any number passes."""
    shape = getattr(temperature, "shape", ())
    is_number = isinstance(temperature, int | float | np.number | jax.Array)
    rule = "the temperature must be a number of at least 0"
    cure = "1 samples the model"
    require(is_number and shape == (), f"{rule}, got {temperature!r}; {cure}")
    if not isinstance(temperature, Tracer):
        value = float(temperature)  # type: ignore[arg-type]
        require(0 <= value < math.inf, f"{rule}, got {temperature}; {cure}")


def require_path(name: str, value: object) -> Path:
    """The path that ``value`` is; raise if it is none."""
    require(
        isinstance(value, str | os.PathLike) and "\0" not in str(value),
        f"{name} must be the path of a file, got {value!r:.80}",
    )
    return Path(value)  # type: ignore[arg-type]


def require_probabilities(name: str, values: object, count: int) -> None:
    """Raise unless they are ``count`` probabilities that sum to 1.

    Inside ``jit`` only their number is checked.
    """
    rule = f"{name} must be the probabilities of {count} classes, which sum to 1"
    shape = getattr(values, "shape", None)
    require(shape == (count,), f"{rule}, got {shape or values!r}; try 1/{count} each")
    if isinstance(values, Tracer):
        return
    shares = np.asarray(values)
    require(shares.dtype.kind in "iuf", f"{rule}, got {shares.dtype}")
    require(
        # Room for shares that were rounded.
        bool((shares >= 0).all()) and abs(shares.sum(dtype=float) - 1) < 1e-3,
        f"{rule}, got {shares.astype(float).round(4).tolist()}; divide counts by their"
        " sum",
    )


def require_key(key: jax.Array) -> jax.Array:
    """The key itself if it is one key, of ``jax.random.key`` or ``PRNGKey``."""
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    old = dtype == jnp.uint32 and getattr(key, "ndim", 0) == 1 and key.shape[0] >= 2
    require(
        (typed and key.ndim == 0) or old,
        "the key must be one key of jax.random.key, got"
        f" {key if dtype is None else f'{dtype} {list(key.shape)}'};"
        " try jax.random.key(0)",
    )
    return key


def checked_labels(
    labels: jax.Array | np.ndarray | None, count: int, classes: int
) -> jax.Array | None:
    """The labels as int32 ``[count]``; None for a model without classes.

    Inside ``jit`` their range is not checked.

    Raises:
        UserError: they are not what a model of so many classes takes.
    """
    if classes == 0:
        require(
            labels is None,
            "labels must be left out for a model without classes, got some",
        )
        return None
    if labels is None:
        raise UserError(
            f"labels must be given for a model of {classes} classes: integers"
            f" [{count}], got none"
        )
    require(
        hasattr(labels, "dtype"),
        f"labels must be an array, got {type(labels).__name__}; pass it to np.asarray",
    )
    is_integer = bool(jnp.issubdtype(labels.dtype, jnp.integer))
    require(
        labels.shape == (count,) and is_integer,
        f"labels must be integers [{count}], one for each image, got"
        f" {labels.dtype} {list(labels.shape)}",
    )
    require_range("labels", labels, classes)
    return jnp.asarray(labels, jnp.int32)


def require_range(
    what: str, values: jax.Array | np.ndarray, end: int, cure: str = ""
) -> None:
    """Raise unless all values lie in ``[0, end)``; inside ``jit`` any do."""
    if isinstance(values, Tracer) or values.size == 0:
        return
    known = np.asarray(values)
    low, high = int(known.min()), int(known.max())
    require(
        low >= 0 and high < end,
        f"{what} must lie in 0 to {end - 1}, got {low} to {high}{cure}",
    )
