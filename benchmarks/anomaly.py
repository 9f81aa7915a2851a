"""How well do likelihoods tell images of another kind? The area under the ROC curve.

    python benchmarks/anomaly.py fashion-mnist --outliers mnist --mutation 0.3
    python benchmarks/anomaly.py runs/fashion --background runs/background

Without a background model one is trained here: it begins with the weights of the run
and goes on for some updates on mutated images.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import report
import tyro
import worker
from matplotlib.figure import Figure
from report import digits

import pixelcnn_jax as pj
from pixelcnn_jax import data
from pixelcnn_jax.commands.image_sets import another_set, read_set
from pixelcnn_jax.runs import Run


@dataclasses.dataclass(frozen=True)
class Settings:
    run: Annotated[str, tyro.conf.Positional] = "fashion-mnist"
    """A run on the images that belong, or a shipped model."""
    background: str | None = None
    """A run on the same images with training.mutation; None: one is trained here."""
    mutation: float = 0.3
    """Share of the values that the training here replaces."""
    updates: int = 300
    """Of the training here, with Adam at a fifth of the run's rate, down to zero along
    a cosine."""
    outliers: str = "mnist"
    """A set of images that do not belong."""
    data_dir: str | None = None
    """Where the images that belong are, if not where the run found them."""
    outliers_dir: str | None = None
    """Where the outliers are."""
    images: int = 10_000
    """Test images of each set, at most."""
    output: Path = Path("docs/benchmarks")
    """Folder for the table, the plot and the JSON file."""
    name: str = "anomaly"
    """Of the files that are written."""
    quick: bool = False
    """Few images: a test of this program, not of any score."""


SCORES = {
    "likelihood": "negative log-likelihood, nats",
    "ratio": "less that of the background model, nats",
    "complexity": "negative log-likelihood less PNG length, bits",
}


def read(settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Test images that belong, and that do not, as the model takes them."""
    config = Run.named(settings.run).config()
    belong = config.data
    if settings.data_dir is not None:
        belong = dataclasses.replace(belong, data_dir=settings.data_dir)
    strange = another_set(belong, settings.outliers, settings.outliers_dir)
    model = dataclasses.replace(config.model, num_classes=0)
    found = [
        read_set(named, model, "test", another=named is strange)[0].first(
            settings.images
        )
        for named in (belong, strange)
    ]
    return np.asarray(found[0].images[:]), np.asarray(found[1].images[:])


def background_model(settings: Settings) -> tuple[pj.PixelModel, str]:
    """The background model, and how it came about."""
    if settings.background is not None:
        run = Run.named(settings.background)
        mutation = run.config().training.mutation
        step = run.checkpoints.choose("best")
        words = f"{settings.background}, with training.mutation {mutation}, after"
        return run.load(), f"{words} {step:,} updates"
    config = Run.named(settings.run).config()
    place = config.data.data_dir if settings.data_dir is None else settings.data_dir
    source = dataclasses.replace(config.data, data_dir=place)
    train = data.load(source, config.model).train.for_model(config.model)
    size = settings.updates * config.training.batch_size
    few = np.sort(np.random.default_rng(0).permutation(len(train))[:size])
    training = dataclasses.replace(
        config.training,
        epochs=-(-size // len(train)),
        learning_rate=config.training.learning_rate / 5,
        schedule="cosine",
        warmup_steps=settings.updates // 10,
        ema_decay=0.0,
        init_from=settings.run,
        mutation=settings.mutation,
    )
    labels = None if train.labels is None else train.labels[few]
    config = dataclasses.replace(config, training=training)
    found, history = pj.fit(config, train.images[few], labels=labels)
    return found, (
        f"the same after {history[-1].step:,} updates more, with training.mutation"
        f" {settings.mutation}"
    )


def measure(settings: Settings, background: pj.PixelModel) -> list[dict[str, Any]]:
    """The figures of each score, and the scores themselves."""
    model = pj.load(settings.run)
    belong, strange = (
        pj.anomaly_scores(model, images, background=background)._asdict()
        for images in read(settings)
    )
    return [
        {
            "score": words,
            "auroc": pj.auroc(belong[name], strange[name]),
            "images": [len(belong[name]), len(strange[name])],
            "belong": belong[name].tolist(),
            "strange": strange[name].tolist(),
        }
        for name, words in SCORES.items()
    ]


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    means = [np.mean(row[kind]) for kind in ("belong", "strange")]
    # Ratios are negative.
    shown = [f"{'-' if mean < 0 else ''}{digits(abs(mean))}" for mean in means]
    return [row["score"], *shown, f"{row['auroc']:.4f}"]


def note(settings: Settings, background: str) -> str:
    """What was compared, in a sentence or two."""
    run = Run.named(settings.run)
    config, step = run.config(), run.checkpoints.choose("best")
    size = f"{config.model.height}x{config.model.width}, {config.model.levels} levels"
    return (
        f"Test images of {config.data.source} belong, those of {settings.outliers} do"
        f" not ({size}; at most {settings.images:,} of each). The model is"
        f" {settings.run}, {config.model.kind}, after {step:,} updates; the background"
        f" model is {background}."
    )


LABELS = {"belong": "those that belong", "strange": "those that do not"}


def draw(results: dict[str, Any]) -> Figure:
    """How each score is spread over the images of both kinds."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    found = results["measurements"]
    for axes, row in zip(figure.subplots(len(found)), found, strict=True):
        bins = np.histogram_bin_edges(row["belong"] + row["strange"], 60).tolist()
        for kind in ("belong", "strange"):
            shares = np.full(len(row[kind]), 1 / len(row[kind]))
            axes.hist(row[kind], bins, weights=shares, alpha=0.6, label=LABELS[kind])
        axes.set_title(f"{row['score']}: AUROC {row['auroc']:.3f}", fontsize=9)
        axes.set_ylabel("share of images", fontsize=8)
    figure.axes[0].legend()
    return figure


def main(settings: Settings) -> None:
    if settings.quick:
        settings = dataclasses.replace(settings, images=8, updates=1)
    worker.configure()
    background, words = background_model(settings)
    rows = measure(settings, background)
    results = {
        **report.environment(),
        "title": "Anomaly detection",
        "note": note(settings, words),
        "columns": ("score", "mean of images that belong", "of others", "AUROC"),
        "rows": [cells(row) for row in rows],
        "measurements": rows,
    }
    figure = draw(results)
    for row in rows:  # drawn, and too long to keep
        del row["belong"], row["strange"]
    report.write(settings.output, settings.name, results, figure)


if __name__ == "__main__":
    main(report.apart(tyro.cli(Settings, description=__doc__)))
