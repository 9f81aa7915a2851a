"""How fast are samples drawn? Our methods beside the book's loop and a plain JAX one.

    pip install -e ".[benchmark]"
    python benchmarks/sampling.py --output docs/benchmarks

All contestants hold the same weights, which is checked, and take turns in one process.
Times are of warm programs, from the call to the images. Keras is left out where it is
not installed.
"""

import dataclasses
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1]))

import plain_jax
import report
import timing
from timing import Contestant, Timing, seconds_of

import pixelcnn_jax as pj

METHODS = ("auto", "wavefront", "cached", "full")


@dataclasses.dataclass(frozen=True)
class Settings:
    output: Path = Path("docs/benchmarks")
    """Folder for sampling.md, sampling.json and sampling.png."""
    images: tuple[int, ...] = (1, 10, 64, 1000)
    """Numbers of images to draw in one call."""
    side: int = 16
    """Rows and columns of an image."""
    growth_sides: tuple[int, int] = (16, 64)
    """Image sides between which the time per position of "cached" is compared."""
    growth_images: int = 10
    """Images drawn at once for that comparison."""
    rounds: int = 5
    """Runs of each contestant."""
    patience: float = 60.0
    """Seconds after which a contestant that ran twice is not run again."""
    longest: float = 60.0
    """Seconds of the longest run. What would take longer is run for some positions
    only, and its time extrapolated to all."""
    quick: bool = False
    """A tiny network and few images: a test of this program, not of any speed."""


QUICK = Settings(
    images=(1, 3),
    side=6,
    growth_sides=(4, 8),
    growth_images=2,
    rounds=2,
    longest=0.4,
    quick=True,
)


def build(settings: Settings, side: int) -> pj.PixelCNN:
    return pj.build_model(timing.book_config(side, settings.quick))


def ours(model: Any, num_images: int, method: Any, longest: float) -> Contestant:
    """`pixelcnn_jax.sample`, or for "full" where that is too slow one image pass."""
    name = f"ours, {method}"
    if method == "full":
        image_pass = _image_pass(model, num_images)
        positions = model.config.height * model.config.width
        seconds_of(image_pass)
        if positions * seconds_of(image_pass) > longest:
            return Contestant(name, lambda key: image_pass(), positions)

    def run(key):
        return pj.sample(model, key, num_images, method=method)

    jax.block_until_ready(run(jax.random.key(0)))
    return Contestant(name, run)


def _image_pass(model: Any, num_images: int) -> Callable[[], jax.Array]:
    """One pass over the images, spread over the devices as "full" spreads them."""
    graph, params = nnx.split(model)
    c, devices = model.config, min(jax.device_count(), num_images)
    shape = (-(-num_images // devices) * devices, c.height, c.width, c.channels)
    images = timing.spread_images(np.zeros(shape, np.int32), devices)
    network = jax.jit(lambda params, images: nnx.merge(graph, params)(images))
    return lambda: network(params, images)


def plain(model: Any, num_images: int, longest: float) -> Contestant:
    params, c = plain_jax.params_of(model), model.config
    canvas = jnp.zeros((num_images, c.height, c.width, 1), jnp.int32)

    def draw(positions: int, key: jax.Array) -> jax.Array:
        return plain_jax.sample(params, key, canvas, positions)

    return _as_far_as_time_allows(plain_jax.NAME, draw, c.height * c.width, longest)


def book(keras_book: Any, model: Any, num_images: int, longest: float) -> Contestant:
    c = model.config
    network = keras_book.build(plain_jax.params_of(model), c.height, c.width)

    def draw(positions: int, key: jax.Array) -> np.ndarray:
        return keras_book.sample(network, num_images, positions)

    return _as_far_as_time_allows(keras_book.NAME, draw, c.height * c.width, longest)


def _as_far_as_time_allows(
    name: str, draw: Callable[[int, jax.Array], Any], positions: int, longest: float
) -> Contestant:
    """A loop over all positions, or over as many as take a tenth of ``longest``."""
    key = jax.random.key(0)
    jax.block_until_ready(draw(2, key))
    per_position = seconds_of(lambda: draw(2, key)) / 2
    part = positions
    if per_position * positions > longest:
        part = min(positions, max(2, int(longest / 10 / per_position)))
    return Contestant(name, partial(draw, part), positions / part)


def compile_seconds(model: Any) -> dict[str, float]:
    """What the first call for one image takes beyond a second one, median of 3."""

    def beyond(draw: Callable[[], jax.Array]) -> float:
        jax.clear_caches()
        return seconds_of(draw) - seconds_of(draw)

    key = jax.random.key(0)
    return {
        method: statistics.median(
            beyond(partial(pj.sample, model, key, 1, method=method)) for _ in range(3)
        )
        for method in METHODS
    }


def growth(settings: Settings) -> dict[int, Timing]:
    """Timings of "cached" by the side of the image.

    In a `jit` of ours: on one device, without a call's fixed cost on the host.
    """

    def contestant(side: int) -> Contestant:
        graph, params = nnx.split(build(settings, side))
        program = jax.jit(
            lambda params, key: pj.sample(
                nnx.merge(graph, params), key, settings.growth_images, method="cached"
            )
        )
        run = partial(program, params)
        jax.block_until_ready(run(jax.random.key(0)))
        return Contestant(str(side), run)

    contestants = [contestant(side) for side in settings.growth_sides]
    timings = timing.measure(contestants, settings.rounds, settings.patience)
    return {int(side): found for side, found in timings.items()}


def compare(
    settings: Settings, model: Any, keras_book: Any, limit: timing.Limit
) -> dict[int, dict[str, Timing]]:
    """Timings of all contestants, by number of images and name."""
    found = {}
    for number in settings.images:
        contestants = [ours(model, number, m, settings.longest) for m in METHODS]
        contestants.append(plain(model, number, settings.longest))
        if keras_book is not None:
            contestants.append(book(keras_book, model, number, settings.longest))
        contestants += limit.contestants
        found[number] = timing.measure(contestants, settings.rounds, settings.patience)
        limit.take(found[number])
        print(f"{number} images: done", file=sys.stderr)
    return found


def measure_all(settings: Settings) -> dict[str, Any]:
    """Everything that sampling.json holds."""
    keras_book = timing.import_keras_book()
    environment = report.environment()
    if keras_book is not None:
        environment["versions"] |= keras_book.VERSIONS
    model = build(settings, settings.side)
    timing.require_same_network(model, keras_book)
    compiling = compile_seconds(model)
    limit = timing.Limit(settings.quick)
    timings = compare(settings, model, keras_book, limit)
    flops = timing.forward_flops(model, settings.side, settings.side)
    bound = limit.flops_per_second / flops
    return {
        **environment,
        "settings": dataclasses.asdict(settings) | {"output": str(settings.output)},
        "forward_flops": flops,
        "limit_flops_per_second": {"float32": limit.flops_per_second},
        "limit": {"float32": limit.to_json()},
        "sampling": [
            {"images": number, "contestant": name, **found.to_json()}
            | {"share_of_limit": number / found.seconds / bound}
            for number, by_name in timings.items()
            for name, found in by_name.items()
        ],
        "growth": [
            {"side": side, "images": settings.growth_images, **found.to_json()}
            for side, found in growth(settings).items()
        ],
        "compile_seconds": compiling,
    }


def as_text(results: dict[str, Any]) -> str:
    """What sampling.md says."""
    settings = results["settings"]
    mega = report.digits(results["forward_flops"] / 1e6)
    side, images = settings["side"], settings["growth_images"]
    return f"""{report.heading("Sampling", results)}

The book's network at {side}x{side}; all images in one call, programs warm. Medians,
with the lowest and the highest. ~ marks times that are extrapolated from some of the
positions. {report.limit_line(results)}
The limit is that rate at one forward pass an image: {mega} MFLOP, live weights
only.

{_comparison(results["sampling"])}

Time per position of "cached", {images} images at once on one device:

{_growth(results["growth"])}

What the first call takes beyond a second one (tracing and compiling), one image:

{_compiling(results["compile_seconds"])}
"""


def _comparison(rows: list[dict[str, Any]]) -> str:
    columns = ("images", "sampler", "seconds", "lowest - highest", "images/s")
    versus = ("against plain JAX", "against Keras", "share of the limit")
    lines = []
    for row in rows:
        rivals = {x["contestant"]: x for x in rows if x["images"] == row["images"]}
        keras = next((x for name, x in rivals.items() if "Keras" in name), None)
        mark = "~" if row["extrapolated"] else ""
        low, high = row["seconds_low"], row["seconds_high"]
        lines.append(
            (
                str(row["images"]),
                row["contestant"],
                mark + report.digits(row["seconds"]),
                f"{mark}{report.digits(low)} - {report.digits(high)}",
                mark + report.digits(row["images"] / row["seconds"]),
                report.faster(row, rivals[plain_jax.NAME]),
                report.faster(row, keras),
                report.share(row["share_of_limit"]),
            )
        )
    return report.table((*columns, *versus), lines)


def _growth(rows: list[dict[str, Any]]) -> str:
    cost = [1e6 * row["seconds"] / row["side"] ** 2 for row in rows]
    lines = [
        (f"{row['side']}x{row['side']}", f"{micro:,.1f}", f"{micro / cost[0]:.2f}x")
        for row, micro in zip(rows, cost, strict=True)
    ]
    return report.table(("image", "microseconds", "against the first"), lines)


def _compiling(seconds: dict[str, float]) -> str:
    lines = [(method, report.digits(value)) for method, value in seconds.items()]
    return report.table(("method", "seconds"), lines)


def draw(results: dict[str, Any]) -> Figure:
    """Seconds over the number of images; hollow where extrapolated."""
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    axes = figure.subplots()
    rows = results["sampling"]
    for index, name in enumerate(dict.fromkeys(row["contestant"] for row in rows)):
        mine = [row for row in rows if row["contestant"] == name]
        numbers, colour = [row["images"] for row in mine], f"C{index}"
        seconds = [row["seconds"] for row in mine]
        axes.plot(numbers, seconds, color=colour, label=name, lw=1.2)
        for row in mine:
            low, high = row["seconds_low"], row["seconds_high"]
            axes.plot([row["images"]] * 2, [low, high], color=colour, lw=3, alpha=0.4)
            fill = "white" if row["extrapolated"] else colour
            axes.plot(row["images"], row["seconds"], "o", color=colour, mfc=fill, ms=5)
    bound = results["limit_flops_per_second"]["float32"] / results["forward_flops"]
    numbers = sorted({row["images"] for row in rows})
    axes.plot(numbers, [n / bound for n in numbers], "k:", lw=1, label="limit")
    axes.set(xscale="log", yscale="log", xlabel="images", ylabel="seconds")
    axes.set_title(report.machine_line(results), fontsize=9)
    axes.set_xticks(numbers, map(str, numbers))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def main(settings: Settings) -> None:
    if settings.quick:
        settings = dataclasses.replace(QUICK, output=settings.output)
    timing.prepare_process()
    results = measure_all(settings)
    report.write(settings.output, "sampling", as_text(results), results, draw(results))


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
