"""Completion: images of which some pixels are known, and the rest is drawn."""

from functools import partial
from typing import Literal, TypedDict, Unpack, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from pixelcnn_jax.arguments import MAX_IMAGES, Scalar, require_count
from pixelcnn_jax.drawing import Given, Method, Way
from pixelcnn_jax.errors import require
from pixelcnn_jax.jobs import Drawer
from pixelcnn_jax.layers import Conditions
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.models.input_checks import (
    guidance_of,
    require_conditions,
    require_images,
    require_model,
)

Array = jax.Array | np.ndarray


class Options(TypedDict, total=False):
    """Arguments of `complete` that change no type of its result."""

    num_completions: int
    temperature: Scalar
    labels: Array | None
    condition: Array | None
    condition_map: Array | None
    guidance: Scalar
    method: Method
    batch_size: int | None


@overload
def complete(
    model: PixelModel,
    key: jax.Array,
    images: Array,
    known: Array,
    *,
    with_log_prob: Literal[False] = False,
    **options: Unpack[Options],
) -> jax.Array: ...


@overload
def complete(
    model: PixelModel,
    key: jax.Array,
    images: Array,
    known: Array,
    *,
    with_log_prob: Literal[True],
    **options: Unpack[Options],
) -> tuple[jax.Array, jax.Array]: ...


def complete(
    model: PixelModel,
    key: jax.Array,
    images: Array,
    known: Array,
    *,
    num_completions: int = 1,
    temperature: Scalar = 1.0,
    labels: Array | None = None,
    condition: Array | None = None,
    condition_map: Array | None = None,
    guidance: Scalar = 1.0,
    method: Method = "auto",
    batch_size: int | None = None,
    with_log_prob: bool = False,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """Draw what is not known of images; what is known stays.

    In raster order, each unknown pixel is drawn given all pixels before it, known or
    drawn. So the part below a known upper part follows the model's own law of it. A
    known pixel *after* an unknown one does not influence that one: no autoregressive
    model offers its conditional.

    Rows at the top that are known of all images cost one pass of the network, not a
    step for each position, and of that pass only what later rows read; they are found
    if ``known`` is no traced value.

    Args:
        model: a model of this package, such as `PixelCNN`.
        key: a key of ``jax.random.key`` or ``jax.random.PRNGKey``.
        images: integers ``[B, H, W, C]``, of any size; read where known.
        known: bool ``[B, H, W]``, or ``[H, W]`` for all images.
        num_completions: N, of each image.
        temperature, method: see `sample`.
        labels, condition, condition_map: of each image; see `sample`.
        guidance: see `sample`.
        batch_size: completions drawn at a time, which bounds memory; None: all.
        with_log_prob: return the log-probability of each pixel as well, known ones
            included.

    Returns:
        int32 ``[B, N, H, W, C]``; with ``with_log_prob`` also float32 ``[B, N, H, W]``,
        in nats, under the model at temperature 1. The noise of completion ``j`` of
        image ``b`` is that of image ``b * N + j`` of `sample`.

    Raises:
        UserError: images or known pixels of another type or shape, or see `sample`.
    """
    require_model(model)
    num_completions = require_count("num_completions", num_completions)
    known = _checked_known(model, images, known)
    shown = _blank_unknown(images, known)
    # Only what is shown: unknown pixels may hold anything.
    require_images(model, shown)
    num_images, height, width = known.shape
    require_count("the number of images", num_images)
    total = num_images * num_completions
    require(
        total <= MAX_IMAGES,
        f"num_completions times the images must be below 2**31, got {total}; pass fewer"
        " images",
    )
    conditions = Conditions(labels, condition, condition_map)
    require_conditions(model, conditions, known.shape)
    given = Given(
        jax.tree.map(partial(_repeated, times=num_completions), conditions),
        _repeated(shown, num_completions),
        _repeated(known, num_completions),
        guidance_of(model, guidance, conditions, total),
    )
    drawn = Drawer(model)(
        key,
        total,
        Way(method, height, width, known_rows(known), with_log_prob),
        temperature=temperature,
        given=given,
        batch_size=batch_size,
    )
    drawn = jax.tree.map(
        lambda x: x.reshape(num_images, num_completions, *x.shape[1:]), drawn
    )
    return drawn.images if drawn.log_prob is None else (drawn.images, drawn.log_prob)


def _checked_known(model: PixelModel, images: Array, known: Array) -> Array:
    """Which pixels are known, ``[B, H, W]``."""
    shape = getattr(images, "shape", ())
    if len(shape) != 4 or 0 in shape:
        require_images(model, images)  # says what is wrong
    dtype = getattr(known, "dtype", type(known).__name__)
    found = getattr(known, "shape", ())
    is_bool = str(dtype) == "bool"
    require(
        is_bool and found in (shape[:3], shape[1:3]),
        f"known must be bool {list(shape[:3])} or {list(shape[1:3])}, one for each"
        f" pixel of images {list(shape)}, got {dtype} {list(found)}",
    )
    over = jnp if isinstance(known, Tracer) else np
    return over.broadcast_to(known, shape[:3])


def _blank_unknown(images: Array, known: Array) -> Array:
    """The images with zeros where nothing is known, whatever stood there."""
    traced = isinstance(images, Tracer) or isinstance(known, Tracer)
    # NumPy if possible: the range of the levels can then be checked.
    over = jnp if traced else np
    return over.where(known[..., None], images, over.zeros((), images.dtype))


def _repeated(given: Array, times: int) -> jax.Array:
    """Each image's part several times in a row, ``[B * times, ...]``."""
    # NumPy compiles nothing: JAX would, for every shape.
    over = jnp if isinstance(given, Tracer) else np
    repeated = over.repeat(given, times, axis=0)
    is_integer = jnp.issubdtype(given.dtype, jnp.integer)
    return jnp.asarray(repeated, jnp.int32 if is_integer else None)


def known_rows(known: Array) -> int:
    """Rows at the top that need no visit: known of all images, and not the last one."""
    if isinstance(known, Tracer):
        return 0
    # Even if all is known, a walk visits a last row.
    above = np.asarray(known)[:, :-1]
    return int(above.all(axis=(0, 2)).cumprod().sum())
