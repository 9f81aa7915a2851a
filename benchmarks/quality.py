"""How good does a network get in so many updates, or in so many minutes?

    python benchmarks/quality.py digits --minutes 2
    python benchmarks/quality.py fashion-mnist digits-gated --updates 250 \\
        --source fashion_mnist --data-dir FOLDER
    python benchmarks/quality.py digits --dtypes float32 bfloat16 --updates 500

Each network is one of a preset or of a run's config.json. All train on the same images
with the same batches and schedule (cosine, a tenth of it warm-up); the figures are of
the test set. Minutes are turned into updates by the time of an update, measured first.
"""

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import machine
import numpy as np
import report
import tyro
import worker
from matplotlib.figure import Figure
from report import digits

import pixelcnn_jax as pj
from pixelcnn_jax import config, data
from pixelcnn_jax.data import ImageSet
from pixelcnn_jax.likelihood import evaluate, evaluate_marginal
from pixelcnn_jax.params import to_params


@dataclasses.dataclass(frozen=True)
class Settings:
    networks: Annotated[tuple[str, ...], tyro.conf.Positional] = ("digits",)
    """Presets, or paths of a config.json."""
    updates: int = 100
    """Updates of each, if no minutes are given."""
    minutes: float | None = None
    """Minutes of updates of each."""
    dtypes: tuple[Literal["float32", "bfloat16"], ...] = ("float32",)
    """Number types in which each is trained."""
    source: str | None = None
    """The images for all, if not each preset's own."""
    data_dir: str | None = None
    """Folder of the data."""
    arrays: Path | None = None
    """Instead: a folder with train.npz and test.npz, each with uint8 images
    [N, H, W, C]."""
    batch_size: int = 128
    """Images per update."""
    learning_rate: float = 1e-3
    """The highest, of Adam."""
    test_images: int = 10_000
    """Test images to evaluate, at most."""
    output: Path = Path("docs/benchmarks")
    """Folder for the table, the plot and the JSON file."""
    name: str = "quality"
    """Of the files that are written."""
    quick: bool = False
    """Tiny networks, few images: a test of this program, not of any network."""


QUICK: dict[str, Any] = dict(batch_size=16, updates=4, minutes=None, test_images=32)


def read_config(name: str, settings: Settings) -> pj.Config:
    """The settings of a preset or of a run, on the images that are asked for."""
    is_file = name.endswith(".json")
    found = config.from_json(Path(name).read_text()) if is_file else pj.preset(name)
    source = found.data
    if settings.source is not None:
        source = dataclasses.replace(source, source=settings.source)
    source = dataclasses.replace(
        source, data_dir=settings.data_dir, validation_images=0
    )
    model = found.model
    if settings.quick:
        model = type(model).tiny(height=4, width=4, num_classes=model.num_classes)
    return dataclasses.replace(found, data=source, model=model)


def load(settings: Settings, run: pj.Config) -> tuple[ImageSet, ImageSet]:
    """Training and test images, as the model takes them."""
    if settings.arrays is None:
        splits = data.load(run.data, run.model)
        found = splits.train, splits.test
    else:
        found = tuple(
            _read_array(settings.arrays / f"{part}.npz", run.model)
            for part in ("train", "test")
        )
    train, test = (part.for_model(run.model) for part in found)
    return train, chosen(test, np.arange(min(len(test), settings.test_images)))


def _read_array(path: Path, model: config.ModelConfig) -> ImageSet:
    images = np.load(path, allow_pickle=False)["images"]
    resized = data.resize(images, model.height, model.width)
    return ImageSet(data.quantize(resized, model.levels), None)


def chosen(images: ImageSet, index: np.ndarray) -> ImageSet:
    """Some images of a set."""
    labels = None if images.labels is None else images.labels[index]
    return dataclasses.replace(images, images=images.images[index], labels=labels)


def cut(train: ImageSet, batch_size: int, updates: int) -> tuple[ImageSet, int]:
    """Images and epochs that make about so many updates; exactly, within one epoch."""
    epochs = math.ceil(updates * batch_size / len(train))
    size = min(len(train), round(updates / epochs) * batch_size)
    order = np.random.default_rng(0).permutation(len(train))[:size]
    return chosen(train, order), epochs


def update_seconds(model: config.ModelConfig, batch_size: int) -> float:
    """Seconds of an update on random images, the median of some windows."""
    fields = dataclasses.asdict(model)
    network = type(model).__name__
    work = worker.Work("training", network, fields, batch_size, steps=5)
    one = worker.in_this_process("ours", work)
    machine.measure([one], rounds=3, patience=60.0)
    return one.seconds / work.steps


def train_and_test(settings: Settings, name: str, dtype: Any) -> dict[str, Any]:
    """The figures of one network."""
    run = read_config(name, settings)
    model = dataclasses.replace(run.model, dtype=dtype)
    train, test = load(settings, run)
    each, updates = update_seconds(model, settings.batch_size), settings.updates
    if settings.minutes is not None:
        updates = max(1, round(60 * settings.minutes / each))
    few, epochs = cut(train, settings.batch_size, updates)
    training = config.TrainingConfig(
        epochs=epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        schedule="cosine",
        warmup_steps=updates // 10,
        clip_norm=1.0,
    )
    run = dataclasses.replace(run, model=model, training=training)
    trained, history = pj.fit(run, few, chosen(few, np.arange(0)))
    found = evaluate(trained, test.images, test.labels)
    result = {
        "network": name,
        "kind": model.kind,
        "dtype": dtype,
        "parameters": sum(x.size for x in jax.tree.leaves(to_params(trained)[1])),
        "updates": history[-1].step,
        "minutes": history[-1].step * each / 60,
        "test_images": len(test),
        "nats_per_image": found.nats_per_image,
        "bits_per_dim": found.bits_per_dim,
        "standard_error": found.bits_per_dim_standard_error,
        "train_bits_per_dim": [row.train_bits_per_dim for row in history],
    }
    if train.labels is not None:
        weights = data.class_frequencies(train.labels, model.num_classes)
        marginal = evaluate_marginal(trained, test.images, weights)
        result["marginal_bits_per_dim"] = marginal.bits_per_dim
    return result


COLUMNS = (
    "network",
    "parameters",
    "updates",
    "minutes of updates",
    "test images",
    "nats/image",
    "bits/dim",
    "class not known",
)


def cells(found: dict[str, Any]) -> list[str]:
    """A row of the table."""
    error, marginal = found["standard_error"], found.get("marginal_bits_per_dim")
    return [
        f"{found['network']} ({found['kind']}, {found['dtype']})",
        f"{found['parameters']:,}",
        f"{found['updates']:,}",
        digits(found["minutes"]),
        f"{found['test_images']:,}",
        digits(found["nats_per_image"]),
        f"{found['bits_per_dim']:.4f} +- {error:.4f}",
        "" if marginal is None else f"{marginal:.4f}",
    ]


def draw(results: dict[str, Any]) -> Figure:
    """Bits per dimension of each network."""
    found = results["measurements"]
    figure = Figure(figsize=(7, 1 + 0.4 * len(found)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(found):
        axes.errorbar(row["bits_per_dim"], place, xerr=row["standard_error"], fmt="o")
    axes.set_yticks(range(len(found)), [row[0] for row in results["rows"]], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("test bits/dim")
    axes.grid(axis="x", alpha=0.3)
    return figure


def main(settings: Settings) -> None:
    if settings.quick:
        settings = dataclasses.replace(settings, **QUICK)
    worker.configure()
    found = [
        train_and_test(settings, name, dtype)
        for name in settings.networks
        for dtype in settings.dtypes
    ]
    results = {
        **report.environment(),
        "title": "Quality",
        "note": f"Batches of {settings.batch_size} images, Adam at"
        f" {settings.learning_rate}, cosine; given the class if the network knows"
        " classes.",
        "columns": COLUMNS,
        "rows": [cells(row) for row in found],
        "measurements": found,
    }
    report.write(settings.output, settings.name, results, draw(results))


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
