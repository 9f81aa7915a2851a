"""Do PixelSNAIL's skips steady its training? The same trainings with and without them.

    python benchmarks/skips.py
    python benchmarks/skips.py --epochs 20 --seeds 0 1 2

The preset `digits-snail`, at its learning rate and above, without the mean of the
weights, which would hide what a step does. Steady is what few epochs make worse, and
what still learns at a higher rate.
"""

import dataclasses
import itertools
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import report
import tyro
import worker
from matplotlib.figure import Figure

import pixelcnn_jax as pj
from pixelcnn_jax import data
from pixelcnn_jax.params import to_params


@dataclasses.dataclass(frozen=True)
class Settings:
    rates: tuple[float, ...] = (2e-3, 6e-3, 18e-3)
    """Learning rates, constant but for a warm-up of an epoch."""
    seeds: tuple[int, ...] = (0, 1)
    """Of the weights and the order of images."""
    epochs: int = 10
    """Of each training."""
    output: Path = Path("docs/benchmarks")
    """Folder for the table, the plot and the JSON file."""
    quick: bool = False
    """A tiny network, one rate and seed, two epochs: a test of this program."""


def train(settings: Settings, rate: float, seed: int, skips: bool) -> dict[str, Any]:
    """Validation bits per dimension after each epoch."""
    preset = pj.preset("digits-snail")
    splits = data.load(preset.data, preset.model)
    images, validation = splits.train, splits.validation
    model = replace(preset.model, skips=skips)
    if settings.quick:
        model = type(preset.model).tiny(height=4, width=4, skips=skips)
        images, validation = (
            pj.ImageSet(x.images[:64][:, :4, :4], None) for x in (images, validation)
        )
    updates = -(-len(images) // preset.training.batch_size)
    training = replace(
        preset.training,
        learning_rate=rate,
        epochs=settings.epochs,
        schedule="constant",
        warmup_steps=updates,
        ema_decay=0.0,
    )
    run = replace(preset, seed=seed, model=model, training=training)
    curve: list[float] = []
    failed = False
    try:
        trained, history = pj.fit(run, images, validation)
        curve = [row.validation_bits_per_dim or 0.0 for row in history]
        parameters = sum(x.size for x in to_params(trained)[1].values())
    except pj.UserError as error:  # the loss is no number any more
        failed, parameters = True, 0
        print(error)
    return {
        "rate": rate,
        "seed": seed,
        "skips": skips,
        "failed": failed,
        "parameters": parameters,
        "curve": curve,
        "worse": sum(b > a for a, b in itertools.pairwise(curve)),
    }


def cells(found: list[dict[str, Any]]) -> list[str]:
    """A row of the table: all seeds of one rate, with skips or without."""
    first, ended = found[0], [one for one in found if not one["failed"]]
    finals = [one["curve"][-1] for one in ended]
    return [
        f"{first['rate']:g}",
        "with" if first["skips"] else "without",
        f"{max(one['parameters'] for one in found):,}",
        f"{len(found) - len(ended)} of {len(found)}",
        ", ".join(f"{x:.4f}" for x in finals),
        f"{statistics.mean(min(one['curve']) for one in ended):.4f}" if ended else "",
        f"{sum(one['worse'] for one in ended)}",
    ]


COLUMNS = (
    "learning rate",
    "skips",
    "parameters",
    "failed",
    "bits/dim at the end, by seed",
    "best, mean of the seeds",
    "epochs that made it worse",
)


def draw(found: list[dict[str, Any]]) -> Figure:
    """Validation bits per dimension over epochs, a panel per rate."""
    rates = sorted({one["rate"] for one in found})
    figure = Figure(figsize=(3.2 * len(rates), 3), layout="constrained")
    panels = figure.subplots(1, len(rates), squeeze=False, sharey=True)[0]
    for axes, rate in zip(panels, rates, strict=True):
        for one in found:
            if one["rate"] == rate and one["curve"]:
                label = "with skips" if one["skips"] else "without"
                color = "C0" if one["skips"] else "C1"
                epochs = range(1, len(one["curve"]) + 1)
                axes.plot(epochs, one["curve"], color=color, label=label, lw=1)
        axes.set_title(f"learning rate {rate:g}", fontsize=9)
        axes.set_xlabel("epoch")
    panels[0].set_ylabel("validation bits/dim")
    handles, labels = panels[0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    panels[0].legend(unique.values(), unique.keys(), fontsize=8)
    return figure


def main(settings: Settings) -> None:
    worker.configure()
    if settings.quick:
        settings = replace(settings, rates=(1e-2,), seeds=(0,), epochs=2)
    found = [
        train(settings, rate, seed, skips)
        for rate, skips, seed in itertools.product(
            settings.rates, (False, True), settings.seeds
        )
    ]
    groups = itertools.groupby(found, lambda one: (one["rate"], one["skips"]))
    results = {
        **report.environment(),
        "title": "PixelSNAIL's skips",
        "note": "The preset digits-snail with a constant learning rate and no mean of"
        f" the weights; validation images after each of {settings.epochs} epochs.",
        "columns": COLUMNS,
        "rows": [cells(list(group)) for _, group in groups],
        "measurements": found,
    }
    report.write(settings.output, "skips", results, draw(found))


if __name__ == "__main__":
    main(report.apart(tyro.cli(Settings, description=__doc__)))
