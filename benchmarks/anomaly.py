"""How well do likelihoods tell images of another kind? The area under the ROC curve.

    python benchmarks/anomaly.py runs/fashion --background runs/background \\
        --outliers mnist

docs/anomaly.md says how the two runs are trained.
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
from pixelcnn_jax.commands.image_sets import another_set, read_set
from pixelcnn_jax.runs import Run


@dataclasses.dataclass(frozen=True)
class Settings:
    run: Annotated[str, tyro.conf.Positional] = "runs/fashion"
    """A run on the images that belong."""
    background: str = "runs/background"
    """A run on the same images with training.mutation."""
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
        read_set(named, model, "test", whole=named is strange)[0].first(settings.images)
        for named in (belong, strange)
    ]
    return np.asarray(found[0].images[:]), np.asarray(found[1].images[:])


def measure(settings: Settings) -> list[dict[str, Any]]:
    """The figures of each score, and the scores themselves."""
    model, background = pj.load(settings.run), pj.load(settings.background)
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


def note(settings: Settings) -> str:
    """What was compared, in a sentence or two."""
    runs = [Run.named(name) for name in (settings.run, settings.background)]
    steps = [run.checkpoints.choose("best") for run in runs]
    mutation = runs[1].config().training.mutation
    return (
        f"Images of {runs[0].config().data.source} belong, those of"
        f" {settings.outliers} do not. The model after {steps[0]:,} updates; the"
        f" background model, with training.mutation {mutation}, after {steps[1]:,}."
    )


def draw(results: dict[str, Any]) -> Figure:
    """How each score is spread over the images of both kinds."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    found = results["measurements"]
    for axes, row in zip(figure.subplots(len(found)), found, strict=True):
        bins = np.histogram_bin_edges(row["belong"] + row["strange"], 60).tolist()
        for kind in ("belong", "strange"):
            axes.hist(row[kind], bins, alpha=0.6, density=True, label=kind)
        axes.set_title(f"{row['score']}: AUROC {row['auroc']:.3f}", fontsize=9)
        axes.set_yticks([])
    figure.axes[0].legend()
    return figure


def main(settings: Settings) -> None:
    if settings.quick:
        settings = dataclasses.replace(settings, images=8)
    worker.configure()
    rows = measure(settings)
    results = {
        **report.environment(),
        "title": "Anomaly detection",
        "note": note(settings),
        "columns": ("score", "mean of images that belong", "of others", "AUROC"),
        "rows": [cells(row) for row in rows],
        "measurements": rows,
    }
    figure = draw(results)
    for row in rows:  # drawn, and too long to keep
        del row["belong"], row["strange"]
    report.write(settings.output, settings.name, results, figure)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
