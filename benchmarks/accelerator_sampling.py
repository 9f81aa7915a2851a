"""The parts of the accelerator's benchmark that draw images, and the limits."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import machine
import worker
from accelerator_common import (
    Bounds,
    Part,
    Settings,
    all_seconds,
    methods,
    networks,
    work,
)
from machine import Contestant, contestant
from report import digits
from speed import flops_per_image

import pixelcnn_jax as pj
from pixelcnn_jax.drawing import Way, draw_batch, image_keys


def equality(settings: Settings, bounds: Bounds) -> Part:
    """Do all methods draw the same images, at highest precision?"""
    count = 4 if settings.quick else 64
    with ThreadPoolExecutor() as threads:  # as `all_seconds`
        compare = partial(_compared, settings, count)
        rows = list(threads.map(compare, networks(settings)))
    return Part(
        "equality",
        "Images that another method draws as `cached` does, from the same key; by how"
        " much JAX's default precision changes the log-probability of an image, in"
        " nats, at most; and the largest difference of a pixel's log-probability"
        " between the cached steps and an image pass. Untrained networks, highest"
        " matmul precision.",
        ("network", "images", "the same", "by default precision", "nats of a pixel"),
        rows,
    )


def _compared(settings: Settings, count: int, name: str) -> list[str]:
    """The row of a network."""
    model = work(settings, name, "sampling", 1).model()
    with jax.default_matmul_precision("highest"):
        draw: Any = partial(pj.sample, model, jax.random.key(0), count)
        cached, nats = draw(method="cached", with_log_prob=True)
        passed = pj.pixel_log_prob(model, cached)
        found = float(jnp.abs(nats - passed).max())
        others = [m for m in (*methods(name), "full") if m != "cached"]
        same = [
            f"{m}: {int((draw(method=m) == cached).all((1, 2, 3)).sum())}"
            for m in others
        ]
    usual = pj.pixel_log_prob(model, cached)
    off = float(jnp.abs((usual - passed).sum((1, 2))).max())
    return [name, str(count), ", ".join(same), f"{off:.1e}", f"{found:.1e}"]


def limits(settings: Settings, bounds: Bounds) -> Part:
    """The rates of large products and of copying."""
    rows = []
    for dtype in ("float32", "bfloat16"):
        limit = machine.Limit(dtype, settings.quick)
        machine.measure(limit.contestants, rounds=3, patience=10.0)
        bounds.flops_per_second[dtype] = limit.flops_per_second
        rows.append(
            [f"{dtype} products", f"{limit.flops_per_second / 1e12:.3f} TFLOP/s"]
        )
    size = 2**20 if settings.quick else 2**28
    x = jnp.zeros(size, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    jax.block_until_ready(copy(x))
    one = contestant("copy", lambda key: copy(x))
    machine.measure([one], rounds=3, patience=10.0)
    rows.append(["copy", f"{2 * x.nbytes / one.seconds / 1e9:.1f} GB/s"])
    return Part(
        "limits",
        "Square products at JAX's default precision; an array read and written.",
        ("what", "rate"),
        rows,
    )


def sampling(settings: Settings, bounds: Bounds) -> Part:
    """Images per second of each network."""
    rows = []
    # The most images apart: what is prepared beside them would take their memory.
    for counts in [(2,)] if settings.quick else [(1, 64, 1000), (10_000,)]:
        works = {
            (name, method, count): work(
                settings, name, "sampling", count, method=method
            )
            for count in counts
            for name in networks(settings)
            for method in methods(name)
        }
        makes = [partial(worker.in_this_process, "", one) for one in works.values()]
        found = all_seconds(settings, bounds, makes)
        for (labels, one), seconds in zip(works.items(), found, strict=True):
            if seconds is not None:
                name, method, count = labels
                rate = flops_per_image(one) * count / seconds
                share = bounds.share(rate, "float32")
                label = [name, method, f"{count:,}", digits(seconds), share]
                rows.append([*label, digits(count / seconds)])
    return Part(
        "sampling",
        "All images in one call, warm. The limit is the rate of large float32 products,"
        " at the operations of live weights.",
        ("network", "method", "images", "seconds", "of the limit", "images/s"),
        rows,
        names=3,
    )


def _side_by_side(
    settings: Settings,
    bounds: Bounds,
    counts: tuple[int, ...],
    ways: tuple[Any, Any],
    make: Callable[[Any, int], Contestant],
) -> list[list[str]]:
    """Rows for numbers of images: the seconds of two ways, and their ratio."""
    pairs = [(way, count) for count in counts for way in ways]
    found = all_seconds(settings, bounds, [partial(make, *pair) for pair in pairs])
    rows = []
    for count, one, other in zip(counts, found[::2], found[1::2], strict=True):
        if one is not None and other is not None:
            ratio = f"{one / other:.2f}"
            rows.append([f"{count:,}", digits(one), digits(other), ratio])
    return rows


def threshold(settings: Settings, bounds: Bounds) -> Part:
    """Up to how many images is a wavefront faster?"""

    def make(method: str, count: int) -> Contestant:
        one = work(settings, "book", "sampling", count, method=method)
        return worker.in_this_process(method, one)

    ways, found = ("cached", "wavefront"), {}
    low, high = 0, 1 if settings.quick else 13  # powers of two, between which it lies
    while low < high:
        power = (low + high) // 2
        rows = _side_by_side(settings, bounds, (2**power,), ways, make)
        if not rows:  # no time or no memory
            break
        found[power] = rows[0]
        low, high = (power + 1, high) if float(rows[0][-1]) > 1 else (low, power)
    rows = [found[power] for power in sorted(found)]
    return Part(
        "threshold",
        "The book's network. `auto` should take the wavefront where the last column is"
        " above 1 (`drawing.WAVEFRONT_IMAGES`).",
        ("images", "cached, seconds", "wavefront, seconds", "cached / wavefront"),
        rows,
    )


def phases(settings: Settings, bounds: Bounds) -> Part:
    """Conditionals of the coarser grids against a program for each place of a cell."""
    side = 4 if settings.quick else 32
    filters, num_resnets = (8, 1) if settings.quick else (64, 2)
    config = pj.PixelCNNPPConfig(
        height=side,
        width=side,
        resolutions=2,
        filters=filters,
        num_resnets=num_resnets,
    )
    model = pj.build_model(config).folded()
    make = partial(_drawer, model)
    counts = (2,) if settings.quick else (1, 64, 1000)
    rows = _side_by_side(settings, bounds, counts, (False, True), make)
    return Part(
        "phases",
        f"PixelCNN++ with {config.filters} filters, {config.num_resnets} resnets, 2"
        f" resolutions, {side}x{side}. The step of a coarser grid is skipped by a"
        " conditional, or the walk is compiled for each place of a cell"
        " (`drawing.Way.static_phases`, `Order.period`), which takes longer to compile:"
        " static phases should be the platform's default where the last column is far"
        " enough above 1 to pay for that.",
        ("images", "conditionals, seconds", "static, seconds", "conditionals / static"),
        rows,
    )


def _drawer(model: pj.PixelModel, static: bool, count: int) -> Contestant:
    way = Way("cached", model.config.height, model.config.width, static_phases=static)

    def run(key: jax.Array) -> jax.Array:
        return draw_batch(model, way, image_keys(key, jnp.arange(count)), 1.0).images

    compiled = jax.jit(run)
    jax.block_until_ready(compiled(jax.random.key(0)))
    return contestant("static" if static else "conditional", compiled)
