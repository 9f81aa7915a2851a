"""Does a classifier recognise the samples of a model?

    python benchmarks/recognise.py digits fashion-mnist --data-dir FOLDER

A support vector machine learns the classes from real training images. Its confidence
(the probability of the likeliest class), and how often it finds each class, on samples
stand beside the same on real test images: good samples are as sure, and as many of each
class. What was found of other runs before stays in the table.
"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import report
import tyro
import worker
from matplotlib.figure import Figure
from sklearn.calibration import CalibratedClassifierCV
from sklearn.svm import SVC

import pixelcnn_jax as pj
from pixelcnn_jax import data
from pixelcnn_jax.data import ImageSet
from pixelcnn_jax.runs import Run

Classifier = CalibratedClassifierCV


@dataclasses.dataclass(frozen=True)
class Settings:
    runs: Annotated[tuple[str, ...], tyro.conf.Positional] = ("digits",)
    """Folders of runs, or shipped models."""
    data_dir: str | None = None
    """Folder of the images that the runs were trained on, if those need one."""
    num_images: int = 1000
    """Samples to judge, and test images at most."""
    train_images: int = 6000
    """Images that the classifier learns from, at most."""
    seed: int = 0
    """Of the samples."""
    output: Path = Path("docs/benchmarks")
    """Folder for the table, the plot and the JSON file."""


@dataclasses.dataclass(frozen=True)
class Judged:
    """What the classifier says of some images."""

    run: str
    what: str
    """Test images, or samples."""
    source: str
    """Of the images."""
    when: str
    """Date and commit."""
    count: int
    confidence: float
    """Mean probability of the likeliest class."""
    sure: float
    """Share of images with more than 0.9."""
    right: float | None
    """Share taken for their class; None if they have none."""
    shares: list[float]
    """Of the images taken for each class."""


def judge(
    classifier: Classifier, run: Run, name: str, what: str, images: ImageSet
) -> Judged:
    chances = classifier.predict_proba(flat(images))
    found, best = chances.argmax(1), chances.max(1)
    labels, here = images.labels, report.environment()
    return Judged(
        name,
        what,
        run.config().data.source,
        f"{here['date'][:10]}, {here['commit']}",
        len(images),
        float(best.mean()),
        float(np.mean(best > 0.9)),
        None if labels is None else float(np.mean(found == labels)),
        (np.bincount(found, minlength=chances.shape[1]) / len(images)).tolist(),
    )


def judge_runs(settings: Settings) -> list[Judged]:
    """Of each run: real test images, judged once for all runs on the same; samples."""
    learnt: dict[Any, Classifier] = {}
    found = []
    for name in settings.runs:
        run = Run.named(name)
        config, model = run.config(), run.load()
        source = dataclasses.replace(config.data, validation_images=0)
        if source.source != "digits":
            source = dataclasses.replace(source, data_dir=settings.data_dir)
        m = config.model
        same_images = source, m.height, m.width, m.channels, m.levels
        if same_images not in learnt:
            splits = data.load(source, m)
            classifier = learn(chosen(splits.train, settings.train_images))
            learnt[same_images] = classifier
            test = chosen(splits.test, settings.num_images)
            found.append(judge(classifier, run, name, "test", test))
        classifier, samples = learnt[same_images], samples_of(settings, model)
        found.append(judge(classifier, run, name, "samples", samples))
    return found


def with_former(settings: Settings, found: list[Judged]) -> list[Judged]:
    """Those found and, in their places in the table, those found before."""
    file = settings.output / f"{NAME}.json"
    former = json.loads(file.read_text())["measurements"] if file.exists() else []
    rows = {(x["run"], x["what"]): Judged(**x) for x in former}
    return list((rows | {(x.run, x.what): x for x in found}).values())


def learn(images: ImageSet) -> Classifier:
    classifier = Classifier(SVC(C=10), cv=5, ensemble=False)  # pyright: ignore
    return classifier.fit(flat(images), images.labels)


def samples_of(settings: Settings, model: pj.PixelModel) -> ImageSet:
    """Samples, of all classes in turn if the model has classes."""
    classes = model.config.num_classes
    labels = np.arange(settings.num_images) % classes if classes else None
    key = jax.random.key(settings.seed)
    drawn = pj.sample(model, key, settings.num_images, labels=labels)
    return ImageSet(np.asarray(drawn), labels)


def chosen(images: ImageSet, count: int) -> ImageSet:
    """So many images of a set, at random."""
    index = np.random.default_rng(0).permutation(len(images))[:count]
    return images.choose(index)


def flat(images: ImageSet) -> np.ndarray:
    return np.asarray(images.images).reshape(len(images), -1)


NAME = "recognise"

COLUMNS = (
    "model, images",
    "number",
    "mean confidence",
    "above 0.9",
    "taken for their class",
    "rarest - commonest class",
    "date, commit",
)


def cells(one: Judged) -> list[str]:
    return [
        f"{one.run}, {one.what}",
        f"{one.count:,}",
        f"{one.confidence:.3f}",
        f"{one.sure:.2f}",
        "" if one.right is None else f"{one.right:.3f}",
        f"{min(one.shares):.3f} - {max(one.shares):.3f}",
        one.when,
    ]


def draw(found: list[Judged]) -> Figure:
    """The share of each class, real and drawn."""
    real = {one.source: one for one in found if one.what == "test"}
    pairs = [(real[one.source], one) for one in found if one.what != "test"]
    figure = Figure(figsize=(8, 2.5 * len(pairs)), layout="constrained")
    all_axes = figure.subplots(len(pairs), squeeze=False)[:, 0]
    for axes, pair in zip(all_axes, pairs, strict=True):
        for place, one in enumerate(pair):
            where = np.arange(len(one.shares)) + 0.4 * (place - 0.5)
            axes.bar(where, one.shares, 0.4, label=one.what)
            axes.set_xticks(range(len(one.shares)))
        axes.set_title(pair[-1].run, fontsize=9)
        axes.set_ylabel("share taken for the class")
        axes.margins(y=0.3)  # for the legend
        axes.legend(fontsize=8, ncols=2, loc="upper right")
    return figure


def main(settings: Settings) -> None:
    worker.configure()
    found = with_former(settings, judge_runs(settings))
    results: dict[str, Any] = {
        **report.environment(),
        "title": "Samples that a classifier recognises",
        "note": "A support vector machine on the pixels, calibrated by five-fold"
        f" cross-validation on at most {settings.train_images:,} training images.",
        "columns": COLUMNS,
        "rows": [cells(one) for one in found],
        "measurements": [dataclasses.asdict(one) for one in found],
    }
    report.write(settings.output, NAME, results, draw(found))


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
