"""All that is to be known about an accelerator, in one command and so many minutes.

    python benchmarks/accelerator.py --minutes 9
    python benchmarks/accelerator.py --minutes 9 --data-dir FOLDER

In this order: do all methods draw the same images; the machine's limits; sampling
rates; where "auto" should change its method; training rates by number type;
convolutions as gathered products beside XLA's own; and with the time left, if the
folder holds MNIST's four files, a training of `mnist-binary`. Each part writes a table,
a plot and a JSON file as soon as it is done, and a part or a row for which there is no
time is left out, so a stop costs what is under way.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import machine
import numpy as np
import quality
import report
import tyro
import worker
from jax import lax
from machine import Contestant, contestant
from matplotlib.figure import Figure
from report import digits
from speed import flops_per_image
from worker import Work

import pixelcnn_jax as pj
from pixelcnn_jax.layers import CausalConv
from pixelcnn_jax.layers.products import convolve_reverse


@dataclasses.dataclass(frozen=True)
class Settings:
    minutes: float = 9.0
    """For everything; what is under way then is finished."""
    data_dir: str | None = None
    """Folder of MNIST's files, for the training at the end."""
    output: Path = Path("docs/benchmarks/accelerator")
    """Folder for the tables, the plots and the JSON files."""
    quick: bool = False
    """Tiny networks and few images: a test of this program, not of any machine."""


class Bounds:
    """What is left of the minutes, and what the machine can do at best."""

    def __init__(self, minutes: float):
        self._end = time.monotonic() + 60 * minutes
        self.flops_per_second: dict[str, float] = {}
        """Of large products, by number type, once it was measured."""

    @property
    def seconds(self) -> float:
        return self._end - time.monotonic()

    def share(self, flops_per_second: float, dtype: str) -> str:
        """A rate by that of large products."""
        return f"{flops_per_second / self.flops_per_second[dtype]:.1%}"


@dataclasses.dataclass(frozen=True)
class Part:
    """A table of the report."""

    name: str
    note: str
    columns: tuple[str, ...]
    rows: list[list[str]]
    """The first cells name what the last one measured."""


# --- networks

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "book": ("PixelCNNConfig", {}),
    "gated": ("GatedPixelCNNConfig", {"height": 28, "width": 28}),
    "pp": ("PixelCNNPPConfig", {"filters": 64, "num_resnets": 2}),
    "snail": (
        "PixelSNAILConfig",
        {"filters": 64, "num_blocks": 4, "num_resnets": 2},
    ),
}
"""The config's class and the fields that are not by default."""


def work(settings: Settings, network: str, task: Any, images: int, **fields: Any):
    """A work of the benchmark of speed."""
    kind, own = NETWORKS[network]
    if settings.quick:
        tiny = getattr(pj, kind).tiny(height=4, width=4)
        own = dataclasses.asdict(tiny)
    dtype = fields.pop("dtype", "float32")
    return Work(task, kind, own | {"dtype": dtype}, images, **fields)


def networks(settings: Settings) -> tuple[str, ...]:
    return ("book",) if settings.quick else tuple(NETWORKS)


def methods(network: str) -> tuple[Any, ...]:
    lag = NETWORKS[network][0] == "PixelCNNConfig"
    return ("cached", "wavefront") if lag else ("cached",)


def seconds_of(
    settings: Settings, bounds: Bounds, make: Callable[[], Contestant]
) -> float | None:
    """The median seconds of a work; None if there is no time or no memory for it."""
    if bounds.seconds < 0:
        return None
    try:
        one = make()
        machine.measure([one], rounds=2 if settings.quick else 3, patience=10.0)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None
    return one.seconds


# --- the parts


def equality(settings: Settings, bounds: Bounds) -> Part:
    """Do all methods draw the same images, at highest precision?"""
    count, rows = 4 if settings.quick else 64, []
    for name in networks(settings):
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
                if bounds.seconds > 0
            ]
        rows.append([name, str(count), ", ".join(same), f"{found:.1e}"])
    return Part(
        "equality",
        "Images that another method draws as `cached` does, from the same key; and the"
        " largest difference of a pixel's log-probability between the cached steps and"
        " an image pass. Untrained networks, highest matmul precision.",
        ("network", "images", "the same", "nats"),
        rows,
    )


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
    counts = (2,) if settings.quick else (1, 64, 1000, 10_000)
    for count in counts:  # small ones of all networks first
        for name in networks(settings):
            for method in methods(name):
                one = work(settings, name, "sampling", count, method=method)
                make = partial(worker.in_this_process, name, one)
                seconds = seconds_of(settings, bounds, make)
                if seconds is not None:
                    rate = flops_per_image(one) * count / seconds
                    label = [name, method, f"{count:,}", digits(seconds)]
                    share = bounds.share(rate, "float32")
                    rows.append([*label, share, digits(count / seconds)])
    return Part(
        "sampling",
        "All images in one call, warm. The limit is the rate of large float32 products,"
        " at the operations of live weights.",
        ("network", "method", "images", "seconds", "of the limit", "images/s"),
        rows,
    )


def threshold(settings: Settings, bounds: Bounds) -> Part:
    """Up to how many images is a wavefront faster?"""
    rows = []
    for count in (2,) if settings.quick else (1, 2, 4, 8, 16, 32, 64, 128):
        cached, wavefront = (
            seconds_of(
                settings,
                bounds,
                partial(
                    worker.in_this_process,
                    method,
                    work(settings, "book", "sampling", count, method=method),
                ),
            )
            for method in ("cached", "wavefront")
        )
        if cached is not None and wavefront is not None:
            ratio = f"{cached / wavefront:.2f}"
            rows.append([f"{count}", digits(cached), digits(wavefront), ratio])
    return Part(
        "threshold",
        "The book's network. `auto` should take the wavefront where the last column is"
        " above 1 (`drawing.WAVEFRONT_IMAGES`, per device).",
        ("images", "cached, seconds", "wavefront, seconds", "cached / wavefront"),
        rows,
    )


PRECISIONS = (
    ("float32", "highest", "float32"),
    ("TF32", "tensorfloat32", "float32"),
    ("bfloat16", None, "bfloat16"),
)
"""Name, matmul precision and number type."""


def training(settings: Settings, bounds: Bounds) -> Part:
    """Images per second of updates."""
    rows, size = [], 8 if settings.quick else 128
    on_cpu = jax.default_backend() == "cpu"
    for name in networks(settings):
        for label, precision, dtype in PRECISIONS:
            if on_cpu and label == "TF32":  # which only accelerators have
                continue
            jax.config.update("jax_default_matmul_precision", precision)
            one = work(settings, name, "training", size, dtype=dtype, steps=4)
            make = partial(worker.in_this_process, name, one)
            seconds = seconds_of(settings, bounds, make)
            jax.config.update("jax_default_matmul_precision", None)
            if seconds is not None:
                images = size * one.steps / seconds
                share = bounds.share(flops_per_image(one) * images, dtype)
                rows.append([name, label, share, digits(images)])
    return Part(
        "training",
        f"Updates of {size} images; three image passes per image. The limit is the rate"
        " of large products of the number type, at JAX's default precision.",
        ("network", "products", "of the limit", "images/s"),
        rows,
    )


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
        ways = {"product": partial(_product, layer), "XLA": partial(_xla, layer)}
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
    )


def _run(run: Callable[..., Any], x: jax.Array, kernel: jax.Array, key: object):
    return run(x, kernel)


def _product(layer: CausalConv, x_CBHW: jax.Array, kernel_TCD: jax.Array) -> jax.Array:
    return jnp.asarray(convolve_reverse(layer.taps, layer.dtype, x_CBHW, kernel_TCD))


def _xla(layer: CausalConv, x_CBHW: jax.Array, kernel_TCD: jax.Array) -> jax.Array:
    """The same with a kernel that is zero where there is no tap."""
    reach = max(max(abs(r), abs(c)) for r, c in layer.taps)
    places = np.array(layer.taps) + reach
    shape = (2 * reach + 1, 2 * reach + 1, *kernel_TCD.shape[1:])
    kernel = jnp.zeros(shape).at[places[:, 0], places[:, 1]].set(kernel_TCD)
    return lax.conv_general_dilated(
        x_CBHW.transpose(1, 2, 3, 0),
        kernel,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


PARTS = (equality, limits, sampling, threshold, training, convolutions)


def train_with_the_rest(settings: Settings, bounds: Bounds) -> None:
    """`mnist-binary`, for as long as there is time: bits/dim over the minutes."""
    # A fifth for compiling, evaluating and drawing.
    minutes = max(0.0, 0.8 * bounds.seconds / 60)
    if minutes < 1 or settings.data_dir is None:
        print("no time, or no --data-dir, for a training")
        return
    quality.main(
        quality.Settings(
            "mnist-binary",  # pyright: ignore[reportArgumentType]
            recipes=("gated",),
            minutes=(round(minutes, 1),),
            data_dir=settings.data_dir,
            workdir=settings.output / "runs",
            output=settings.output,
        )
    )


def write(settings: Settings, part: Part) -> None:
    results = {
        **report.environment(),
        "title": f"Accelerator: {part.name}",
        "note": part.note,
        "columns": part.columns,
        "rows": part.rows,
    }
    report.write(settings.output, part.name, results, draw(part))


def draw(part: Part) -> Figure:
    """Bars of the last column."""
    shown = list(_numbers(part))
    figure = Figure(figsize=(8, 1 + 0.3 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.barh([name for name, _ in shown], [value for _, value in shown])
    axes.invert_yaxis()
    axes.set_xlabel(part.columns[-1])
    if len(shown) > 1 and all(value > 0 for _, value in shown):
        axes.set_xscale("log")
    return figure


def _numbers(part: Part) -> Iterator[tuple[str, float]]:
    for row in part.rows:
        number = row[-1].split()[0].replace(",", "")  # without its unit
        yield ", ".join(row[:-1]), float(number)


def main(settings: Settings) -> None:
    worker.configure()
    bounds = Bounds(settings.minutes)
    for part in PARTS:
        if bounds.seconds > 0:
            write(settings, part(settings, bounds))
    train_with_the_rest(settings, bounds)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
