"""The parts of the accelerator's benchmark that train."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import machine
import numpy as np
import worker
from accelerator_common import Bounds, Part, Settings, all_seconds, networks, work
from jax import lax
from machine import Contestant, contestant
from report import digits
from speed import flops_per_image
from worker import Work

from pixelcnn_jax.layers import CausalConv, convolution
from pixelcnn_jax.layers.products import convolve_reverse
from pixelcnn_jax.masks import Taps

PRECISIONS = (
    ("float32", "highest", "float32"),
    ("TF32", "tensorfloat32", "float32"),
    ("bfloat16", None, "bfloat16"),
)
"""Name, matmul precision and number type."""


def training(settings: Settings, bounds: Bounds) -> Part:
    """Images per second of updates."""
    works = [
        (name, label, precision, dtype)
        for name in networks(settings)
        for label, precision, dtype in PRECISIONS
        # A CPU has no TF32.
        if label != "TF32" or jax.default_backend() != "cpu"
    ]
    makes = [
        partial(_updates, settings, name, precision, dtype)
        for name, _, precision, dtype in works
    ]
    labels, seconds = list(works), all_seconds(settings, bounds, makes)
    with mock.patch.object(convolution, "convolve_reverse", _by_xla):
        for name, label, precision, dtype in works:
            if name == "book" and precision != "highest":
                jax.clear_caches()  # traced anew
                make = partial(_updates, settings, name, precision, dtype)
                labels.append((name, f"{label}, XLA's", precision, dtype))
                seconds += all_seconds(settings, bounds, [make])
    jax.clear_caches()
    rows = []
    for (name, label, _, dtype), found in zip(labels, seconds, strict=True):
        if found is not None:
            one = _work(settings, name, dtype)
            images = one.images_per_run / found
            share = bounds.share(flops_per_image(one) * images, dtype)
            rows.append([name, label, share, digits(images)])
    return Part(
        "training",
        f"Updates of {_work(settings, 'book', 'float32').images} images; three image"
        " passes per image. The limit is the rate of large products of the number type,"
        " at JAX's default precision. With XLA's convolutions in place of the gathered"
        " products of kernels with several taps, where it says so.",
        ("network", "products", "of the limit", "images/s"),
        rows,
        names=2,
    )


def _work(settings: Settings, name: str, dtype: str) -> Work:
    size = 8 if settings.quick else 128
    return work(settings, name, "training", size, dtype=dtype, steps=4)


def _updates(settings: Settings, name: str, precision: Any, dtype: str) -> Contestant:
    with jax.default_matmul_precision(precision):
        one = worker.in_this_process(name, _work(settings, name, dtype))
    turn = jax.default_matmul_precision(precision)(one.turn)
    return dataclasses.replace(one, turn=turn)


def convolutions(settings: Settings, bounds: Bounds) -> Part:
    """A layer's value and gradients, as a gathered product and as XLA's convolution."""
    rows = []
    batch, side = (2, 4) if settings.quick else (128, 16)
    model = work(settings, "book", "training", 1).model()
    for name, layer in model.causal_layers().items():
        if (
            not isinstance(layer, CausalConv)
            or layer.is_pointwise
            or bounds.seconds < 0
        ):
            continue
        shape = (layer.in_features, batch, side, side)
        x = jax.random.normal(jax.random.key(0), shape)
        kernel = jnp.asarray(layer.kernel[...] * layer.mask)
        ways = {
            "product": partial(convolve_reverse, layer.taps, layer.dtype),
            "XLA": partial(_by_xla, layer.taps, layer.dtype),
        }
        pair = []
        for way, compute in ways.items():
            run = jax.jit(
                jax.grad(lambda x, k, f=compute: (f(x, k) ** 2).sum(), (0, 1))
            )
            jax.block_until_ready(run(x, kernel))
            pair.append(contestant(way, partial(_run, run, x, kernel)))
        machine.measure(pair, rounds=3, patience=10.0)
        product, xla = (one.seconds for one in pair)
        size = f"{len(layer.taps)} taps, {layer.in_features} to {layer.out_features}"
        rows.append(
            [name, size, digits(product), digits(xla), f"{xla / product:.2f}"],
        )
        if len(rows) == 2:  # the first layer, and one of those that are all alike
            break
    return Part(
        "convolutions",
        f"Gradients of a layer of the book's network, {batch} maps of {side}x{side}.",
        ("layer", "kernel", "product, seconds", "XLA, seconds", "XLA / product"),
        rows,
        names=2,
    )


def _run(run: Callable[..., Any], x: jax.Array, kernel: jax.Array, key: object):
    return run(x, kernel)


def _by_xla(
    taps: Taps, dtype: Any, x_CBHW: jax.Array, kernel_TCD: jax.Array
) -> jax.Array:
    """`convolve_reverse` with a kernel that is zero where there is no tap.

    Sums of bfloat16 products are bfloat16: JAX has no gradient of a convolution whose
    result is of another type.
    """
    places = np.array(taps)
    low, high = np.minimum(places.min(0), 0), np.maximum(places.max(0), 0)
    shape = (*(high - low + 1), *kernel_TCD.shape[1:])
    rows, columns = (places - low).T
    kernel = jnp.zeros(shape, dtype).at[rows, columns].set(kernel_TCD.astype(dtype))
    y = lax.conv_general_dilated(
        x_CBHW.astype(dtype).transpose(1, 2, 3, 0),
        kernel,
        (1, 1),
        [(-int(a), int(b)) for a, b in zip(low, high, strict=True)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y.transpose(3, 0, 1, 2).astype(jnp.float32)
