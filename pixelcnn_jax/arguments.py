"""Checks of what users give to functions."""

import os
from pathlib import Path
from typing import TypeAlias, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from pixelcnn_jax.arrays import LONGEST_SIDE, are_finite
from pixelcnn_jax.errors import UserError, require

Scalar: TypeAlias = float | jax.Array

Array: TypeAlias = jax.Array | np.ndarray

MOST_STRENGTH = 1e30
"""Of a temperature and the like: times noise it is to stay finite in float32."""

MAX_IMAGES = 2**31 - 1
"""Images are counted in 32 bits, as keys fold them in."""


def require_count(name: str, value: object) -> int:
    """``value`` as Python's integer; raise unless it is a number of images.

    NumPy's integers of few bits would overflow in what is computed from them.
    """
    require(
        is_integer(value) and 1 <= int(value) <= MAX_IMAGES,  # type: ignore[arg-type]
        f"{name} must be an integer of at least 1 and below 2**31, got {value!r};"
        " pass a whole number between",
    )
    return int(value)  # type: ignore[arg-type]


def require_size(
    size: object, name: str = "size", default: str = "the training images"
) -> tuple[int, int]:
    """``size`` in Python's integers; raise unless it is an image's height and width.

    Args:
        name: what asks for it.
        default: of what the size is otherwise.
    """
    require(
        isinstance(size, tuple)
        and len(size) == 2
        and all(is_integer(x) and 1 <= x <= LONGEST_SIDE for x in size),
        f"{name} must be (height, width), two integers from 1 to {LONGEST_SIDE}, got"
        f" {size!r}; leave it out for the size of {default}",
    )
    height, width = size  # type: ignore[misc]
    return int(height), int(width)


def is_integer(value: object) -> bool:
    """Whether it is a whole number by its type."""
    # To Python, True is an integer.
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def require_temperature(temperature: object) -> None:
    """Raise unless it is a number of at least 0; inside ``jit`` any number passes."""
    _require_strength("the temperature", temperature, "1 samples the model")


def guidance_of(guidance: Scalar, count: int, *, possible: bool) -> jax.Array | None:
    """The guidance of so many images, float32 ``[count]``; None if it is off, at 1.

    Inside ``jit`` any number passes.

    Args:
        possible: whether the model can do without conditions, and some are given.

    Raises:
        UserError: it is no number of at least 0, or not possible.
    """
    _require_strength("guidance", guidance, "1 is off")
    if not isinstance(guidance, Tracer) and guidance == 1:
        return None
    require(
        possible,
        "guidance needs conditions, and a model that was trained with"
        f" model.condition_dropout, got {guidance} without; leave it at 1",
    )
    return jnp.full(count, as_float32(guidance))


def _require_strength(name: str, value: object, cure: str) -> None:
    """Raise unless it is one number from 0 to `MOST_STRENGTH`."""
    rule = f"{name} must be a number of at least 0"
    dtype = getattr(value, "dtype", None)
    if dtype is None:
        # To Python, True is an integer.
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        is_real = any(jnp.issubdtype(dtype, x) for x in (jnp.integer, jnp.floating))
        is_number = is_real and isinstance(value, np.number | jax.Array)
    shape = getattr(value, "shape", ())
    require(is_number and shape == (), f"{rule}, got {value!r:.80}; {cure}")
    if not isinstance(value, Tracer):
        # As it is: a whole number too large for a float can still be compared.
        known = value if isinstance(value, int) else float(value)  # type: ignore[arg-type]
        require(known >= 0, f"{rule}, got {value!s:.80}; {cure}")
        require(
            known <= MOST_STRENGTH,
            f"{name} must be at most {MOST_STRENGTH:g}, got {value!s:.80}; {cure}",
        )


def as_float32(value: Scalar) -> jax.Array:
    """A checked number for a program: of one type, so that it serves all of them."""
    return jnp.asarray(value, jnp.float32)


def as_array(name: str, value: object) -> np.ndarray:
    """A list or an array as an array; raise if its parts differ in length."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise UserError(f"{name} must be an array, got a ragged list") from error


def require_path(name: str, value: object) -> Path:
    """The path that ``value`` is; raise if it is none."""
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else value
    require(
        isinstance(text, str) and _may_be_a_name(text),
        f"{name} must be the path of a file, got {value!r:.80}",
    )
    return Path(text)  # type: ignore[arg-type]


def _may_be_a_name(text: str) -> bool:
    """Whether a file can be called so."""
    try:
        # Half a surrogate pair has no bytes, in whatever encoding.
        return text != "" and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


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


def require_labels(labels: Array | None, count: int, classes: int) -> None:
    """Raise unless these are the classes of so many images.

    Inside ``jit`` their range is not checked.
    """
    if not _expected(labels, "labels", classes, "classes", f"integers [{count}]"):
        return
    require(
        labels.shape == (count,) and _are_integers(labels),
        f"labels must be integers [{count}], one for each image, got"
        f" {labels.dtype} {list(labels.shape)}",
    )
    require_range("labels", labels, classes)


def require_condition(condition: Array | None, count: int, features: int) -> None:
    """Raise unless these are the vectors of so many images."""
    shape, what = f"[{count}, {features}]", "condition_features"
    if not _expected(condition, "condition", features, what, f"floats {shape}"):
        return
    require(
        condition.shape == (count, features) and _are_numbers(condition),
        f"condition must be floats {shape}, a vector for each image, got"
        f" {condition.dtype} {list(condition.shape)}",
    )
    _require_finite("condition", condition)


def require_condition_map(
    found: Array | None, count: int, channels: int, levels: int, size: tuple[int, int]
) -> None:
    """Raise unless these are the maps of so many images of this height and width.

    Args:
        levels: that their values can take; 0: they are floats.
    """
    kind = "integers" if levels else "floats"
    shape, name = f"{kind} [{count}, h, w, {channels}]", "condition_map"
    if not _expected(found, name, channels, "condition_channels", shape):
        return
    require(
        found.ndim == 4
        and (found.shape[0], found.shape[3]) == (count, channels)
        and (_are_integers(found) if levels else _are_numbers(found)),
        f"{name} must be {shape}, a map for each image, got {found.dtype}"
        f" {list(found.shape)}",
    )
    height, width = found.shape[1:3]
    require(
        height > 0 and width > 0 and size[0] % height == 0 and size[1] % width == 0,
        f"the height and the width of {name} must divide those of the images,"
        f" {size[0]} by {size[1]}, got {height} by {width}; repeat or average its"
        " cells",
    )
    if levels:
        require_range(name, found, levels)
    else:
        _require_finite(name, found)


def _expected(
    value: Array | None, name: str, size: int, what: str, shape: str
) -> TypeGuard[Array]:
    """Whether there is something to check."""
    require(
        value is not None or size == 0,
        f"{name} must be given for a model of {size} {what}: {shape}, got none",
    )
    require(
        value is None or size > 0,
        f"{name} must be left out for a model without {what}, got some",
    )
    require(
        value is None or hasattr(value, "dtype"),
        f"{name} must be an array, got {type(value).__name__}; pass it to np.asarray",
    )
    return value is not None


def _are_integers(values: Array) -> bool:
    return bool(jnp.issubdtype(values.dtype, jnp.integer))


def _are_numbers(values: Array) -> bool:
    return _are_integers(values) or bool(jnp.issubdtype(values.dtype, jnp.floating))


def _require_finite(name: str, values: Array) -> None:
    if isinstance(values, Tracer):
        return
    known = np.asarray(values)
    if known.dtype.kind in "iu" and known.size:
        low, high = int(known.min()), int(known.max())
        require(
            low >= -(2**31) and high < 2**31,
            f"{name} of integers must fit in 32 bits, got {low} to {high}; pass floats",
        )
    require(
        are_finite(known),
        f"{name} must be finite numbers, got some that are not; leave those images out",
    )


def require_outside_jit(what: str, *given: object) -> None:
    """Raise if any of the arrays is traced: what runs on the host needs its values."""
    require(
        not any(isinstance(x, Tracer) for x in jax.tree.leaves(given)),
        f"{what} must be called outside of jit and other transformations of JAX, as it"
        " runs on the host, got a traced array; call it without them",
    )


def require_range(what: str, values: Array, end: int, cure: str = "") -> None:
    """Raise unless all values lie in ``[0, end)``; inside ``jit`` any do."""
    if isinstance(values, Tracer) or values.size == 0:
        return
    known = np.asarray(values)
    low, high = int(known.min()), int(known.max())
    require(
        low >= 0 and high < end,
        f"{what} must lie in 0 to {end - 1}, got {low} to {high}{cure}",
    )
