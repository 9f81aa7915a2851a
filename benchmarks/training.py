"""How fast is training? Our step beside Keras and a plain JAX step.

    pip install -e ".[benchmark]"
    python benchmarks/training.py --output docs/benchmarks

All contestants start from the same weights, which is checked, and take turns in one
process, each with a window of updates. Keras is left out where it is not installed.
"""

import dataclasses
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1]))

import plain_jax
import report
import timing
from timing import Contestant

import pixelcnn_jax as pj
from pixelcnn_jax import data
from pixelcnn_jax.config import DataConfig, TrainingConfig
from pixelcnn_jax.training import Trainer

PLAIN = "plain JAX step"


@dataclasses.dataclass(frozen=True)
class Settings:
    output: Path = Path("docs/benchmarks")
    """Folder for training.md, training.json and training.png."""
    data_dir: str | None = None
    """Folder with the four Fashion-MNIST files. None: random images."""
    batch_size: int = 128
    """Images per update."""
    steps: int = 20
    """Updates in a window, which is timed as a whole."""
    windows: int = 5
    """Windows of each contestant."""
    patience: float = 200.0
    """Seconds after which a contestant that ran two windows is not run again."""
    quick: bool = False
    """A tiny network and few images: a test of this program, not of any speed."""


QUICK = Settings(batch_size=8, steps=2, windows=2, quick=True)


def load_images(settings: Settings, config: pj.PixelCNNConfig) -> np.ndarray:
    """Levels ``[N, H, W, 1]``, enough for every window and one to warm up."""
    number = settings.batch_size * settings.steps * (settings.windows + 1)
    shape = (number, config.height, config.width, 1)
    if settings.data_dir is None:
        rng = np.random.default_rng(0)
        return rng.integers(0, config.levels, shape, dtype=np.uint8)
    source = DataConfig("fashion_mnist", settings.data_dir, validation_images=0)
    return np.resize(data.load(source, config).train.images, shape)


def contestant(name: str, settings: Settings, work: Callable[[int], Any]) -> Contestant:
    """``work`` on a window of the images, warmed up, and on the next one each time."""
    windows = itertools.cycle(range(settings.windows + 1))
    jax.block_until_ready(work(next(windows)))
    return Contestant(name, lambda key: work(next(windows)))


def ours(
    settings: Settings, config: pj.PixelCNNConfig, images: np.ndarray
) -> Contestant:
    """The step of train.py, all updates of a window in one call."""
    training = TrainingConfig(batch_size=settings.batch_size)
    trainer = Trainer(pj.build_model(config), training, images)
    order = data.batch_order(0, 0, len(images), settings.batch_size)
    on_device, state = trainer.put_order(order), trainer.init()

    def work(window):
        nonlocal state
        start = window * settings.steps
        state = trainer.run(state, on_device, start, settings.steps)
        return state

    return contestant(f"ours, {config.dtype}", settings, work)


def plain(settings: Settings, model: Any, images: np.ndarray) -> Contestant:
    optimizer = optax.adam(5e-4, eps=1e-7)
    update = plain_jax.update_with(optimizer)
    params = plain_jax.params_of(model)
    opt_state = optimizer.init(params)
    batches = images.reshape(-1, settings.steps, settings.batch_size, *images.shape[1:])

    def work(window):
        nonlocal params, opt_state
        for batch in batches[window]:
            params, opt_state = update(params, opt_state, batch)
        return params

    return contestant(plain_jax.NAME, settings, work)


def book(
    keras_book: Any, settings: Settings, model: Any, images: np.ndarray
) -> Contestant:
    c, size = model.config, settings.steps * settings.batch_size
    network = keras_book.build(plain_jax.params_of(model), c.height, c.width)
    inputs, targets = images.astype(np.float32) / c.levels, images[..., 0]

    def work(window):
        part = slice(window * size, (window + 1) * size)
        network.fit(
            inputs[part], targets[part], batch_size=settings.batch_size, verbose=0
        )

    return contestant(keras_book.NAME, settings, work)


def measure_all(settings: Settings) -> dict[str, Any]:
    """Everything that training.json holds."""
    keras_book = timing.import_keras_book()
    environment = report.environment()
    config = timing.book_config(16, settings.quick)
    model, images = pj.build_model(config), load_images(settings, config)
    timing.require_same_network(model, keras_book)
    dtypes = ["float32"] if jax.default_backend() == "cpu" else ["float32", "bfloat16"]
    contestants = [
        ours(settings, dataclasses.replace(config, dtype=dtype), images)
        for dtype in dtypes
    ]
    contestants.append(plain(settings, model, images))
    if keras_book is not None:
        environment["versions"] |= keras_book.VERSIONS
        contestants.append(book(keras_book, settings, model, images))
    limits = {dtype: timing.Limit(settings.quick, dtype) for dtype in dtypes}
    contestants += [x for limit in limits.values() for x in limit.contestants]
    timings = timing.measure(contestants, settings.windows, settings.patience)
    for limit in limits.values():
        limit.take(timings)
    # A backward pass has two products for each of the forward pass.
    flops = 3 * timing.forward_flops(model, config.height, config.width)
    rates = {dtype: limit.flops_per_second for dtype, limit in limits.items()}
    number = settings.batch_size * settings.steps
    return {
        **environment,
        "settings": dataclasses.asdict(settings) | {"output": str(settings.output)},
        "training_flops": flops,
        "limit_flops_per_second": rates,
        "limit": {dtype: limit.to_json() for dtype, limit in limits.items()},
        "training": [
            {"contestant": name, **found.to_json()}
            | {"images_per_second": number / found.seconds}
            | {"share_of_limit": number / found.seconds * flops / _bound(name, rates)}
            for name, found in timings.items()
        ],
    }


def _bound(name: str, rates: dict[str, float]) -> float:
    return rates["bfloat16" if "bfloat16" in name else "float32"]


def as_text(results: dict[str, Any]) -> str:
    """What training.md says."""
    settings = results["settings"]
    mega = report.digits(results["training_flops"] / 1e6)
    images = "Fashion-MNIST" if settings["data_dir"] else "random images"
    return f"""{report.heading("Training", results)}

The book's network on {images} at 16x16, batches of {settings["batch_size"]}. Medians of
windows of {settings["steps"]} updates, with the lowest and the highest.
{report.limit_line(results)}
The limit is that rate at {mega} MFLOP an image: three forward passes, live weights
only.

{_comparison(results)}
"""


def _comparison(results: dict[str, Any]) -> str:
    columns = ("step", "images/s", "lowest - highest", "against plain JAX")
    rows = results["training"]
    by_name = {row["contestant"]: row for row in rows}
    keras = next((row for name, row in by_name.items() if "Keras" in name), None)
    lines = []
    for row in rows:
        low, high = _speeds(row)
        lines.append(
            (
                row["contestant"],
                report.digits(row["images_per_second"]),
                f"{report.digits(low)} - {report.digits(high)}",
                report.faster(row, by_name[plain_jax.NAME]),
                report.faster(row, keras),
                report.share(row["share_of_limit"]),
            )
        )
    return report.table((*columns, "against Keras", "share of the limit"), lines)


def _speeds(row: dict[str, Any]) -> tuple[float, float]:
    """Images per second of the slowest and of the fastest window."""
    number = row["images_per_second"] * row["seconds"]
    return number / row["seconds_high"], number / row["seconds_low"]


def draw(results: dict[str, Any]) -> Figure:
    """Images per second, and the limit."""
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes, rows = figure.subplots(), results["training"]
    for index, row in enumerate(rows):
        axes.barh(index, row["images_per_second"], color=f"C{index}", alpha=0.8)
        axes.plot(_speeds(row), [index] * 2, "k-", lw=1.5)
    for dtype, rate in results["limit_flops_per_second"].items():
        bound = rate / results["training_flops"]
        axes.axvline(bound, color="k", ls=":", lw=1)
        axes.text(bound, -0.6, f"limit, {dtype} ", ha="right", fontsize=7)
    axes.set_yticks(range(len(rows)), [row["contestant"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("images per second")
    axes.set_title(report.machine_line(results), fontsize=9)
    return figure


def main(settings: Settings) -> None:
    if settings.quick:
        settings = dataclasses.replace(
            QUICK, output=settings.output, data_dir=settings.data_dir
        )
    timing.prepare_process()
    results = measure_all(settings)
    report.write(settings.output, "training", as_text(results), results, draw(results))


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
