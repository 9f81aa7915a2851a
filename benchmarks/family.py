"""Which model of the family is better? Side by side, same data, same schedule.

    python benchmarks/family.py --data-dir FASHION_MNIST --colour-dir CIFAR10

Fashion-MNIST at 16x16 and 4 levels: the book's network, the Gated PixelCNN in the same
number of updates and in the same time, and by class. Colour images at 256 levels: a
softmax and a mixture of logistics on the same gated network. Every run has the same
batches and a cosine schedule over its updates; the figures are of the test set. The
time of an update is measured first, side by side, so the runs themselves need no quiet
machine.
"""

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1]))

import report

import pixelcnn_jax as pj
from pixelcnn_jax import cli, data
from pixelcnn_jax.config import DataConfig, ModelConfig, TrainingConfig
from pixelcnn_jax.likelihood import evaluate, evaluate_marginal
from pixelcnn_jax.training import Trainer

WINDOW = 5
"""Updates that are timed at a time."""

WINDOWS = 3
"""Times that each model's updates are timed."""


@dataclasses.dataclass(frozen=True)
class Settings:
    data_dir: str
    """Folder with the four Fashion-MNIST files."""
    colour_dir: Path | None = None
    """Folder with train.npz and test.npz, each with uint8 images [N, H, W, 3]; None:
    no colour."""
    output: Path = Path("docs/benchmarks")
    """Folder for family.md, family.json and family.png."""
    steps: int = 400
    """Updates of each run on Fashion-MNIST."""
    batch_size: int = 128
    """Images per update."""
    colour_steps: int = 400
    """Updates of each run on colour images."""
    colour_batch_size: int = 32
    """Images per update, in colour."""
    colour_size: int = 16
    """Side to which colour images are resized."""
    test_images: int = 10_000
    """Test images to evaluate, at most."""
    learning_rate: float = 1e-3
    """The highest, of Adam."""


def train_and_test(
    name: str,
    model: ModelConfig,
    steps: int,
    batch_size: int,
    train: data.ImageSet,
    test: data.ImageSet,
    learning_rate: float,
    update_seconds: float,
) -> dict[str, Any]:
    """One run: its figures, and the curve of the training loss."""
    training = TrainingConfig(
        batch_size=batch_size, learning_rate=learning_rate, schedule="cosine"
    )
    order = np.concatenate(
        [
            data.batch_order(0, epoch, len(train), batch_size)[:-1]
            for epoch in range(1 + steps * batch_size // len(train))
        ]
    )[:steps]
    labels = train.labels if model.num_classes else None
    network = pj.build_model(model)
    trainer = Trainer(network, training, train.images, labels=labels, updates=steps)
    state, rows = trainer.init(), trainer.put_order(order)
    curve, before, stride = [], 0.0, 20
    for start in range(0, steps, stride):
        count = min(stride, steps - start)
        state = trainer.run(state, rows, start, count)
        nats, before = float(state.epoch_nats) - before, float(state.epoch_nats)
        bits = nats / (count * batch_size * trainer.dims * np.log(2))
        curve.append((start + count, (start + count) * update_seconds, bits))
    found = evaluate(
        trainer.model(state), test.images, test.labels if model.num_classes else None
    )
    result = {
        "name": name,
        "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
        "steps": steps,
        "seconds": steps * update_seconds,
        "bits_per_dim": found.bits_per_dim,
        "standard_error": found.bits_per_dim_standard_error,
        "curve": curve,
    }
    if model.num_classes and train.labels is not None:
        weights = data.class_frequencies(train.labels, model.num_classes)
        few = test.images[:2000]
        marginal = evaluate_marginal(trainer.model(state), few, weights)
        result["marginal_bits_per_dim_of_2000"] = marginal.bits_per_dim
    print(f"{name}: {found.bits_per_dim:.4f} bits/dim", flush=True)
    return result


def update_seconds(
    models: Sequence[ModelConfig], batch_size: int, images: data.ImageSet
) -> list[float]:
    """Seconds an update of each model: medians of windows in turn, once compiled."""
    contestants = []
    for model in models:
        labels = images.labels if model.num_classes else None
        training = TrainingConfig(batch_size=batch_size)
        network = pj.build_model(model)
        trainer = Trainer(network, training, images.images, labels=labels)
        order = data.batch_order(0, 0, len(images), batch_size)[:WINDOW]
        contestants.append([trainer, trainer.put_order(order), trainer.init(), []])
    for _ in range(1 + WINDOWS):
        for contestant in contestants:
            trainer, order, state, times = contestant
            began = time.perf_counter()
            contestant[2] = jax.block_until_ready(trainer.run(state, order, 0, WINDOW))
            times.append((time.perf_counter() - began) / WINDOW)
    return [float(np.median(times[1:])) for *_, times in contestants]


def grey(settings: Settings) -> list[dict[str, Any]]:
    """The runs on Fashion-MNIST."""
    source = DataConfig("fashion_mnist", settings.data_dir, validation_images=0)
    splits = data.load(source, pj.PixelCNNConfig())
    test = first(splits.test, settings.test_images)

    models = [
        pj.PixelCNNConfig(),
        pj.GatedPixelCNNConfig(),
        pj.GatedPixelCNNConfig(num_classes=10),
    ]
    seconds = update_seconds(models, settings.batch_size, splits.train)

    def run(name: str, index: int, steps: int) -> dict[str, Any]:
        model = models[index]
        return train_and_test(
            name,
            model,
            steps,
            settings.batch_size,
            splits.train,
            test,
            settings.learning_rate,
            seconds[index],
        )

    steps = settings.steps
    return [
        run("book's network", 0, steps),
        run("gated, same updates", 1, steps),
        run("gated, same time", 1, round(steps * seconds[0] / seconds[1])),
        run("gated by class, same updates", 2, steps),
    ]


def colour(settings: Settings, folder: Path) -> list[dict[str, Any]]:
    """The runs on colour images."""
    size = settings.colour_size
    train, test = (
        data.ImageSet(data.quantize(data.resize(images, size, size), 256), None)
        for images in (
            np.load(folder / f"{part}.npz", allow_pickle=False)["images"]
            for part in ("train", "test")
        )
    )
    names: tuple[Literal["categorical", "logistic_mixture"], ...] = (
        "categorical",
        "logistic_mixture",
    )
    models = [
        pj.GatedPixelCNNConfig(
            height=size,
            width=size,
            channels=3,
            levels=256,
            features=48,
            head_features=96,
            distribution=name,
        )
        for name in names
    ]
    seconds = update_seconds(models, settings.colour_batch_size, train)
    return [
        train_and_test(
            f"gated, {name}",
            model,
            settings.colour_steps,
            settings.colour_batch_size,
            train,
            first(test, settings.test_images),
            settings.learning_rate,
            each,
        )
        for name, model, each in zip(names, models, seconds, strict=True)
    ]


def first(images: data.ImageSet, count: int) -> data.ImageSet:
    labels = None if images.labels is None else images.labels[:count]
    return data.ImageSet(images.images[:count], labels)


def table(results: list[dict[str, Any]]) -> str:
    columns = ["model", "parameters", "updates", "seconds", "test bits/dim"]
    rows = [
        (
            row["name"],
            f"{row['parameters']:,}",
            str(row["steps"]),
            f"{row['seconds']:.0f}",
            f"{row['bits_per_dim']:.4f} +- {row['standard_error']:.4f}",
        )
        for row in results
    ]
    return report.table(columns, rows)


def plot(groups: dict[str, list[dict[str, Any]]]) -> Figure:
    figure = Figure(figsize=(5 * len(groups), 3.6), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(groups)))
    for axes, (title, results) in zip(panels, groups.items(), strict=True):
        for row in results:
            _, seconds, bits = zip(*row["curve"], strict=True)
            axes.plot(seconds, bits, label=row["name"])
        top = np.percentile([b for row in results for _, _, b in row["curve"]], 85)
        low = min(b for row in results for _, _, b in row["curve"])
        axes.set_ylim(low - 0.05 * (top - low), top)
        axes.set_xlabel("seconds of training")
        axes.set_ylabel("training bits/dim")
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return figure


def main(settings: Settings) -> None:
    environment = report.environment()
    groups = {"Fashion-MNIST, 16x16, 4 levels": grey(settings)}
    if settings.colour_dir is not None:
        size = settings.colour_size
        title = f"colour, {size}x{size}, 256 levels"
        groups[title] = colour(settings, settings.colour_dir)
    parts = [report.heading("The family side by side", environment)]
    for title, results in groups.items():
        parts.append(f"{title}:\n\n{table(results)}")
        for row in results:
            bits = row.get("marginal_bits_per_dim_of_2000")
            if bits is not None:
                parts.append(
                    f"{row['name']}, the class not known: {bits:.4f} bits/dim on the"
                    " first 2,000 test images."
                )
    results = {**environment, "results": groups}
    text = "\n\n".join(parts) + "\n"
    report.write(settings.output, "family", text, results, plot(groups))


if __name__ == "__main__":
    cli.use_machine_well()
    main(tyro.cli(Settings, description=__doc__))
