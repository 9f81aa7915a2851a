"""How fast are sampling and training?

    pip install -e ".[benchmark]"
    python benchmarks/speed.py sampling
    python benchmarks/speed.py sampling --model gated --images 64
    python benchmarks/speed.py sampling --model pp --filters 64 --num-resnets 2
    python benchmarks/speed.py training --microbatches 1 8
    python benchmarks/speed.py training --against 12a5df9
    python benchmarks/speed.py --check main

Beside our methods stand the book's network in plain JAX and in Keras, if that is
installed, with the same weights, which is checked. With ``--against`` it is another
revision, or a folder, of this repository instead. All take turns in one run, so that
drift hits all alike. Times are of warm programs, from the call to the result.
"""

import dataclasses
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import book_keras
import jax
import machine
import numpy as np
import report
import rivals
import tyro
import worker
from flax import nnx
from machine import Contestant, contestant, seconds_of
from speed_settings import NETWORKS, QUICK, Settings, works
from speed_table import LIMIT, columns_and_rows, draw
from worker import Work

import pixelcnn_jax as pj
from pixelcnn_jax.layers import Attention, CausalConv, Shrink
from pixelcnn_jax.layers.strided import STRIDE


def here(settings: Settings, work: Work, keras: Any) -> list[Contestant]:
    """Our methods and their rivals, in this process."""
    model = work.model()
    is_book = isinstance(model, pj.PixelCNN)
    if is_book:
        rivals.require_same_network(model, keras)
    if work.task == "training":
        found = [worker.in_this_process("ours", work)]
        if is_book:
            windows = work.training_windows()
            found += rivals.trainers(model, keras, windows, work.images)
        return found
    *methods, full = NETWORKS[settings.model].methods
    found = [
        worker.in_this_process(
            f"ours, {method}", dataclasses.replace(work, method=method)
        )
        for method in methods
    ]
    found.append(full_method(model, work, f"ours, {full}", settings.longest))
    if is_book:
        found += rivals.samplers(model, keras, work.images, settings.longest)
    return found


def full_method(model: pj.PixelModel, work: Work, name: str, longest: float):
    """The textbook's loop, or one of its image passes if all would take too long."""
    image_pass = _image_pass(model, work.images)
    positions = model.config.height * model.config.width
    seconds_of(image_pass)
    if positions * seconds_of(image_pass) > longest:
        return contestant(name, lambda key: image_pass(), positions)
    return worker.in_this_process(name, dataclasses.replace(work, method="full"))


def _image_pass(model: pj.PixelModel, num_images: int) -> Callable[[], jax.Array]:
    """One pass over the images, spread over the devices as "full" spreads them."""
    graph, params = nnx.split(model)
    c, devices = model.config, min(jax.device_count(), num_images)
    shape = (-(-num_images // devices) * devices, c.height, c.width, c.channels)
    images = machine.spread(np.zeros(shape, np.int32), devices)
    network = jax.jit(lambda params, images: nnx.merge(graph, params)(images))
    return lambda: network(params, images)


TOLERANCE = 1.05
"""Times of a check by those of the other revision beyond which it fails."""

ONE_DEVICE = "ours, without use_all_cores"
"""What a program gets that leaves a CPU one device, as JAX does by itself."""

# --- what is measured


def compare(settings: Settings) -> Iterator[tuple[str, Work, list[Contestant]]]:
    """Each work with its contestants, which have had their turns."""
    if settings.against is None:
        yield from among_rivals(settings)
        return
    with tempfile.TemporaryDirectory() as scratch:
        other = worker.checkout(settings.against, Path(scratch))
        with worker.children(report.ROOT, other) as (new, old):
            for name, work in works(settings):
                pair = [new.contestant("this", work), old.contestant("other", work)]
                machine.measure(pair, settings.rounds, settings.patience)
                yield name, work, pair


def among_rivals(settings: Settings) -> Iterator[tuple[str, Work, list[Contestant]]]:
    """The same, beside the rivals."""
    keras = book_keras.import_keras() if settings.model == "book" else None
    several = jax.default_backend() == "cpu" and jax.device_count() > 1
    folders = [report.ROOT] if several else []
    with worker.children(*folders, JAX_NUM_CPU_DEVICES="1") as alone:
        for name, work in works(settings):
            limit = machine.Limit(work.settings["dtype"], settings.quick)
            contestants = here(settings, work, keras)
            contestants[1:1] = [child.contestant(ONE_DEVICE, work) for child in alone]
            everybody = [*contestants, *limit.contestants]
            machine.measure(everybody, settings.rounds, settings.patience)
            rate = limit.flops_per_second / flops_per_image(work)
            bound = Contestant(LIMIT, limit.contestants[0].turn)
            bound.runs.append(work.images_per_run / rate)
            yield name, work, [*contestants, bound]


def flops_per_image(work: Work) -> int:
    """Floating-point operations of one image pass, or in training of three.

    Two for every weight that a mask leaves open, at every position of its grid, and
    those of attention between positions and earlier ones; nothing else. A backward pass
    has two products for each of the forward pass.
    """
    model = work.model()
    passes = 3 if work.task == "training" else 1
    positions = model.config.height * model.config.width
    products = 0
    for layer in model.causal_layers().values():
        if isinstance(layer, CausalConv):
            # A `Shrink` has an output for each cell of the grid after its own.
            scale = layer.scale * (STRIDE if isinstance(layer, Shrink) else 1)
            products += int(layer.mask.sum()) * positions // scale**2
        elif isinstance(layer, Attention):
            features = layer.num_heads * (layer.key_features + layer.value_features)
            products += features * positions * (positions - 1) // 2
    return passes * 2 * products


def measure_all(settings: Settings) -> dict[str, Any]:
    """Everything that the JSON file holds."""
    found = []
    for name, work, contestants in compare(settings):
        for one in contestants:
            speed = work.images_per_run / one.seconds
            ratio = _ratio(contestants) if settings.against else None
            found.append(
                {"work": name, **one.to_json(), "images_per_second": speed}
                | {"time_this_by_other": ratio, "settings": work.settings}
            )
        print(f"{name}: done", file=sys.stderr)
    columns, rows = columns_and_rows(found, settings.against is not None)
    return {
        **report.environment(),
        "title": f"{settings.task.capitalize()}, {settings.model} network",
        "note": _note(settings),
        "columns": columns,
        "rows": rows,
        "settings": dataclasses.asdict(settings) | {"output": str(settings.output)},
        "measurements": found,
    }


def _note(settings: Settings) -> str:
    what = "All images in one call."
    if settings.task == "training":
        what = f"Windows of {settings.steps} updates of {settings.batch_size} images."
    if settings.against:
        return f"{what} Medians of turns; the ratio is the median over pairs of turns."
    return (
        f"{what} Medians of turns. ~ marks times that are extrapolated from some of the"
        " positions. The limit is the rate of large matrix products, at the operations"
        " of live weights only: one image pass per image drawn, three per image trained"
        " on."
    )


def _ratio(pair: list[Contestant]) -> float:
    """The time of the first by that of the second, turn by turn; the median."""
    new, old = (one.runs for one in pair)
    return statistics.median(a / b for a, b in zip(new, old, strict=False))


def slower(settings: Settings, revision: str) -> list[str]:
    """What takes longer than in the revision, beyond the tolerance, in words."""
    found = []
    for task in ("sampling", "training"):
        one = dataclasses.replace(settings, task=task, against=revision)
        for row in write(one)["measurements"]:
            ratio = row["time_this_by_other"]
            if row["contestant"] == "this" and ratio > TOLERANCE:
                found.append(f"{task}, {row['work']}: {ratio:.3f} of the time")
    return found


def write(settings: Settings) -> dict[str, Any]:
    """Measures, and writes the table, the plot and the JSON file."""
    results = measure_all(settings)
    report.write(settings.output, settings.name, results, draw(results))
    return results


def main(settings: Settings) -> None:
    if settings.quick:
        settings = dataclasses.replace(settings, **QUICK)
    worker.configure()
    if settings.check is None:
        write(settings)
    elif found := slower(settings, settings.check):
        sys.exit("slower than " + settings.check + ":\n" + "\n".join(found))


if __name__ == "__main__":
    main(report.apart(tyro.cli(Settings, description=__doc__)))
