"""The one arithmetic of all causal layers: a weighted sum of taps.

A number type other than float32 is that of the *products*: operands are rounded to it,
sums and everything else stay float32. That is more exact than computing throughout in
bfloat16, and it is what the matrix units of CPUs and accelerators do.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from pixelcnn_jax.masks import Taps

OLD_XLA = jax.__version_info__ < (0, 11)
"""On a CPU it moves bfloat16 as float32, and rounds each copy anew."""


def moved_type(dtype: DTypeLike) -> jnp.dtype:
    """The type of values that are moved and not computed with, such as a cache's.

    With an XLA that moves bfloat16 badly, integers of the same bits.
    """
    as_bits = OLD_XLA and jnp.dtype(dtype) == jnp.bfloat16
    return jnp.dtype(jnp.uint16 if as_bits else dtype)


def to_move(x: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Rounded to ``dtype``, as its `moved_type`; `gather` takes them as they are."""
    x = x.astype(dtype)
    return x if x.dtype == moved_type(dtype) else _bits(x)


def moved(x: jax.Array, dtype: DTypeLike) -> jax.Array:
    """What `to_move` made, as numbers again."""
    return x if x.dtype == jnp.dtype(dtype) else lax.bitcast_convert_type(x, dtype)


@jax.custom_jvp
def _bits(x: jax.Array) -> jax.Array:
    return lax.bitcast_convert_type(x, jnp.uint16)


@_bits.defjvp
def _no_derivative(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> NoReturn:
    # Bits would pass for constants.
    raise NotImplementedError(
        "cached steps in bfloat16 have no derivative before jax 0.11; differentiate an"
        " image pass, or take float32"
    )


def shift(x_CBHW: jax.Array, taps: Taps) -> list[jax.Array]:
    """What lies at each tap from every position; zeros outside the image."""
    height, width = x_CBHW.shape[2:]
    rows, columns = ([tap[axis] for tap in taps] for axis in (0, 1))
    up, left = max(0, -min(rows)), max(0, -min(columns))
    down, right = max(0, *rows), max(0, *columns)
    padded = jnp.pad(x_CBHW, ((0, 0), (0, 0), (up, down), (left, right)))
    return [
        padded[:, :, up + r : up + r + height, left + c : left + c + width]
        for r, c in taps
    ]


def gather(taps: Sequence[jax.Array], axis: int, dtype: DTypeLike) -> jax.Array:
    """All that a kernel sees, tap after tap along the features' axis.

    Args:
        taps: numbers, or some of them `to_move`.
    """
    if all(tap.dtype != jnp.uint16 for tap in taps):
        return jnp.concatenate([tap.astype(dtype) for tap in taps], axis)
    bits = [tap if tap.dtype == jnp.uint16 else to_move(tap, dtype) for tap in taps]
    return moved(jnp.concatenate(bits, axis), dtype)


def gather_maps(x_CBHW: jax.Array, taps: Taps, dtype: DTypeLike) -> jax.Array:
    """All that a kernel sees from every position, ``[T * C, B, H, W]``."""
    x = x_CBHW.astype(dtype)
    if x.dtype == moved_type(dtype):
        return gather(shift(x, taps), 0, dtype)
    return _gather_bits(x, taps)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _gather_bits(x_CBHW: jax.Array, taps: Taps) -> jax.Array:
    return gather(shift(_bits(x_CBHW), taps), 0, x_CBHW.dtype)


@_gather_bits.defjvp
def _gather_tangents(
    taps: Taps, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    return _gather_bits(x, taps), gather(shift(dx, taps), 0, dx.dtype)


def weigh_maps(x_KBHW: jax.Array, kernel_TCD: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Gathered taps of whole maps, times the kernel: float32 ``[D, B, H, W]``.

    One product with the positions along the last axis of both operands.
    """
    # The kernel on the left, so that maps come out with the features first again.
    # Transposed before it is a matrix: XLA folds the transposition of a matrix into the
    # product, which then takes twice as long on a CPU in bfloat16.
    kernel_DK = kernel_TCD.transpose(2, 0, 1).reshape(kernel_TCD.shape[-1], -1)
    return _unflat(_product(kernel_DK, _flat(x_KBHW), dtype), x_KBHW)


def weigh_steps(x_K: jax.Array, kernel_TCD: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Gathered taps ``[..., T * C]`` of a step, times the kernel: ``[..., D]``."""
    kernel_KD = kernel_TCD.reshape(-1, kernel_TCD.shape[-1]).astype(dtype)
    # `gather` has rounded x already.
    return jnp.matmul(x_K, kernel_KD, preferred_element_type=jnp.float32)


def add_to_maps(y: jax.Array, bias: jax.Array) -> jax.Array:
    """Maps ``[D, B, H, W]`` plus one number for each of the first axes of ``bias``.

    Args:
        bias: ``[D]``, or ``[D, B]`` for one of each image.
    """
    # In two axes: in four, XLA's code for a CPU divides the index of every element to
    # find its feature, which made 6 % of the time of an update of the book's network.
    # No -1 in the shapes, which of no images could be any number.
    rows = y.reshape(bias.size, math.prod(y.shape[bias.ndim :]))
    return (rows + bias.reshape(bias.size, 1)).reshape(y.shape)


def _flat(x: jax.Array) -> jax.Array:
    """Maps ``[C, B, H, W]`` as a matrix ``[C, positions]``."""
    return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def _unflat(y: jax.Array, like: jax.Array) -> jax.Array:
    return y.reshape(y.shape[0], *like.shape[1:])


def _product(a: jax.Array, b: jax.Array, dtype: DTypeLike) -> jax.Array:
    # Without the preferred type, sums of bfloat16 products would be bfloat16.
    return lax.dot(a.astype(dtype), b.astype(dtype), preferred_element_type=jnp.float32)


def _product_with_transposed(
    a_IM: jax.Array, b_JM: jax.Array, dtype: DTypeLike
) -> jax.Array:
    """``a @ b.T`` with the positions contiguous in both: a kernel's gradient."""
    return lax.dot_general(
        a_IM.astype(dtype),
        b_JM.astype(dtype),
        (((1,), (1,)), ((), ())),
        preferred_element_type=jnp.float32,
    )


# The gradients below are those of `weigh_maps`, arranged so that every product runs at
# the machine's rate. They hold in reverse mode only. Maps that are kept for them feed
# products and nothing else, so they are kept in the products' number type.


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def weigh_maps_reverse(
    dtype: DTypeLike, x_KBHW: jax.Array, kernel_TCD: jax.Array
) -> jax.Array:
    """`weigh_maps` for training, for kernels that widen their input or are 1x1."""
    return weigh_maps(x_KBHW, kernel_TCD, dtype)


def _weigh_forward(
    dtype: DTypeLike, x_KBHW: jax.Array, kernel_TCD: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return weigh_maps(x_KBHW, kernel_TCD, dtype), (x_KBHW, kernel_TCD)


def _weigh_backward(
    dtype: DTypeLike, saved: tuple[jax.Array, jax.Array], dy_DBHW: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x_KBHW, kernel_TCD = saved
    dy = _flat(dy_DBHW)
    kernel_KD = kernel_TCD.reshape(-1, kernel_TCD.shape[-1])
    dx = _unflat(_product(kernel_KD, dy, dtype), dy_DBHW)
    dkernel = _product_with_transposed(_flat(x_KBHW), dy, dtype)
    # JAX wants a gradient in the type of what it is a gradient of.
    return dx.astype(x_KBHW.dtype), dkernel.reshape(kernel_TCD.shape)


weigh_maps_reverse.defvjp(_weigh_forward, _weigh_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def convolve_reverse(
    taps: Taps, dtype: DTypeLike, x_CBHW: jax.Array, kernel_TCD: jax.Array
) -> jax.Array:
    """`weigh_maps` of shifted maps, for training, for kernels of several taps.

    The plain gradient keeps the gathered taps and adds up as many shifted maps. This
    one gathers the *output's* gradient once, at the opposite taps, and both gradients
    are one product with it.

    Args:
        x_CBHW: in ``dtype``.
    """
    return weigh_maps(gather_maps(x_CBHW, taps, dtype), kernel_TCD, dtype)


def _convolve_forward(
    taps: Taps, dtype: DTypeLike, x_CBHW: jax.Array, kernel_TCD: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    # Keeps the input, not the gathered taps: they are larger by the number of taps.
    return convolve_reverse(taps, dtype, x_CBHW, kernel_TCD), (x_CBHW, kernel_TCD)


def _convolve_backward(
    taps: Taps,
    dtype: DTypeLike,
    saved: tuple[jax.Array, jax.Array],
    dy_DBHW: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    x_CBHW, kernel_TCD = saved
    features = x_CBHW.shape[0]
    # An input feeds the outputs that lie at the opposite of each tap.
    opposite = tuple((-row, -column) for row, column in taps)
    gathered = _flat(gather_maps(dy_DBHW, opposite, dtype))
    # Without the barrier XLA folds the kernel's transposition into the product, which
    # takes longer than transposing this small matrix by itself.
    flipped = lax.optimization_barrier(
        kernel_TCD.transpose(1, 0, 2).reshape(features, -1).astype(dtype)
    )
    dx = _unflat(_product(flipped, gathered, dtype), x_CBHW)
    # Opposites were gathered in the taps' order, so the rows are the taps' gradients.
    dkernel = _product_with_transposed(gathered, _flat(x_CBHW), dtype)
    dkernel_TDC = dkernel.reshape(len(taps), -1, features)
    return dx.astype(x_CBHW.dtype), dkernel_TDC.transpose(0, 2, 1)


convolve_reverse.defvjp(_convolve_forward, _convolve_backward)
