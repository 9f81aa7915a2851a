"""The book's experiment as far as it goes in so many minutes, samples in a strip.

    python benchmarks/book.py --minutes 120 --data-dir FOLDER

The preset ``fashion-mnist``: the book's network on its images, at a constant rate. The
run has a folder, so a training that was stopped goes on when it is called again. What
minutes are, see quality.py.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import quality
import report
import tyro
import worker
from matplotlib.figure import Figure
from PIL import Image

import pixelcnn_jax as pj
from pixelcnn_jax.likelihood import Evaluation, evaluate
from pixelcnn_jax.runs import Row
from pixelcnn_jax.training.reports import SAMPLES

SHOWN = 2, 6
"""Columns and rows of an epoch's samples that the strip shows."""


@dataclasses.dataclass(frozen=True)
class Settings:
    minutes: float = 120.0
    """Minutes of updates."""
    every: int = 10
    """Epochs between two rows of the table, and two pictures of the strip."""
    data_dir: str | None = None
    """Folder of the images; None: where TensorFlow Datasets keeps them."""
    workdir: Path = Path("runs/book")
    """Folder for the run."""
    output: Path = Path("docs/benchmarks")
    """Folder for the table, the plot, the strip and the JSON file."""
    quick: bool = False
    """A tiny network, digits and five epochs: a test of this program."""


def prepared(settings: Settings) -> pj.Config:
    """The book's experiment, or a quick one."""
    run = pj.preset("digits" if settings.quick else "fashion-mnist")
    if settings.quick:
        model = type(run.model).tiny(height=4, width=4)
        run = dataclasses.replace(run, model=model)
    return run


def shown_epochs(epochs: int, every: int) -> list[int]:
    """The first, each so many, and the last."""
    return sorted({1, epochs, *range(every, epochs + 1, every)})


def strip(folder: Path, epochs: list[int]) -> Figure:
    """Some of the same samples after each of these epochs, side by side."""
    figure = Figure(figsize=(1.1 * len(epochs), 3.4), layout="constrained")
    all_axes = figure.subplots(1, len(epochs), squeeze=False)[0]
    for axes, epoch in zip(all_axes, epochs, strict=True):
        picture = np.asarray(Image.open(folder / f"epoch_{epoch:04d}.png"))
        side = math.isqrt(SAMPLES)  # of a square grid
        height, width = picture.shape[:2]
        columns, rows = SHOWN
        shown = picture[: height * rows // side, : width * columns // side]
        axes.imshow(shown, interpolation="nearest")
        axes.set_title(f"epoch {epoch}", fontsize=8)
        axes.set_axis_off()
    return figure


def curve(rows: list[Row], each: float) -> Figure:
    """Bits per dimension over the epochs."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    epochs = [row.epoch for row in rows]
    axes.plot(epochs, [row.train_bits_per_dim for row in rows], label="training")
    validation = [row.validation_bits_per_dim for row in rows]
    axes.plot(epochs, np.array(validation, float), label="validation")
    minutes = rows[0].step * each / 60

    def to_minutes(epoch: Any) -> Any:  # an array, or what Matplotlib takes for one
        return epoch * minutes

    def to_epochs(time: Any) -> Any:
        return time / minutes

    above = axes.secondary_xaxis("top", functions=(to_minutes, to_epochs))
    above.set_xlabel("minutes")
    axes.set_xlabel("epoch")
    axes.set_ylabel("bits/dim")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def cells(row: Row, each: float) -> list[str]:
    """A row of the table."""
    bits = row.validation_bits_per_dim
    return [
        str(row.epoch),
        f"{row.step * each / 60:.1f}",
        f"{row.step:,}",
        f"{row.train_bits_per_dim:.4f}",
        "" if bits is None else f"{bits:.4f}",
    ]


class Trained(NamedTuple):
    """How the training went."""

    rows: list[Row]
    seconds_per_update: float
    test: Evaluation
    """Of the best checkpoint."""


def train(settings: Settings) -> Trained:
    """Train for so many minutes, or go on."""
    run, folder = prepared(settings), settings.workdir
    place = quality.Settings(
        "digits" if settings.quick else "fashion-16",
        data_dir=settings.data_dir,
        quick=settings.quick,
    )
    train, validation, test = quality.load(place, run)
    each = quality.seconds_in(folder, run)
    batches = math.ceil(len(train) / run.training.batch_size)
    epochs = max(1, int(60 * settings.minutes / (each * batches)))
    epochs = 5 if settings.quick else epochs
    training = dataclasses.replace(run.training, epochs=epochs)
    run = dataclasses.replace(run, training=training, workdir=str(folder))
    _, rows = pj.fit(run, train, validation, workdir=folder)
    return Trained(rows, each, evaluate(pj.load(folder), test.images))


def main(settings: Settings) -> None:
    worker.configure()
    rows, each, found = train(settings)
    epochs = rows[-1].epoch
    chosen = shown_epochs(epochs, 2 if settings.quick else settings.every)
    results: dict[str, Any] = {
        **report.environment(),
        "title": "The book's experiment",
        "note": f"{epochs} epochs at a constant rate. The best checkpoint on the"
        f" validation images has {found.bits_per_dim:.4f} +-"
        f" {found.bits_per_dim_standard_error:.4f} bits/dim on the {len(found.nats):,}"
        " test images.",
        "columns": ("epoch", "minutes", "updates", "training", "validation, bits/dim"),
        "rows": [cells(row, each) for row in rows if row.epoch in chosen],
        "seconds_per_update": each,
        "bits_per_dim": found.bits_per_dim,
        "standard_error": found.bits_per_dim_standard_error,
        "curve": [
            [row.epoch, row.train_bits_per_dim, row.validation_bits_per_dim]
            for row in rows
        ],
    }
    report.write(settings.output, "book", results, curve(rows, each))
    picture = strip(settings.workdir / "samples", chosen)
    picture.savefig(settings.output / "book_strip.png", dpi=110)


if __name__ == "__main__":
    main(report.apart(tyro.cli(Settings, description=__doc__)))
