"""How good does a network get in so many minutes?

    python benchmarks/quality.py digits --minutes 10 30
    python benchmarks/quality.py fashion-16 --recipes gated pp --data-dir FOLDER
    python benchmarks/quality.py cifar10 --arrays FOLDER

Each recipe of a study (recipes.py) trains on the same images, with its schedule
stretched to the minutes, in a run folder of its own: stopped, it goes on when it is
called again. Figures are of the test set. What is finished is kept in a JSON file per
recipe and is not trained again; the table and the plot are made of all those of the
study.

Minutes are those of the updates, by the time of one that is measured before the
training: on a CPU processor time divided by the cores, which other programs on the
machine hardly change, elsewhere wall-clock time. Compiling and evaluating don't count.
Judged is the checkpoint that was best on the validation images, as `pj.load` chooses:
who trains for long on few images does not pay for having overfitted them.
"""

import dataclasses
import itertools
import json
import math
import statistics
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
import report
import tyro
import worker
from quality_table import write_study
from recipes import STUDIES

import pixelcnn_jax as pj
from pixelcnn_jax import config, data, pictures
from pixelcnn_jax.data import ImageSet
from pixelcnn_jax.likelihood import evaluate, evaluate_marginal
from pixelcnn_jax.params import to_params
from pixelcnn_jax.runs import Run


@dataclasses.dataclass(frozen=True)
class Settings:
    study: Annotated[Literal[tuple(STUDIES)], tyro.conf.Positional]  # pyright: ignore
    """Which of the studies."""
    recipes: tuple[str, ...] = ()
    """Those of the study to train, if not all."""
    minutes: tuple[float, ...] = (10.0,)
    """Minutes of updates: each recipe is trained for each of them."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number type of products."""
    data_dir: str | None = None
    """Folder of the data."""
    arrays: Path | None = None
    """Instead: a folder with train.npz and test.npz, each with uint8 images
    [N, H, W, C]."""
    test_images: int = 10_000
    """Test images to evaluate, at most."""
    workdir: Path = Path("runs/quality")
    """Folder for the runs."""
    output: Path = Path("docs/benchmarks")
    """Folder for the table, the plot and the JSON files."""
    quick: bool = False
    """Tiny networks, few images and updates: a test of this program, not of any
    network."""

    def run_name(self, recipe: str, minutes: float) -> str:
        words = (self.study, recipe, f"{minutes:g} minutes", self.dtype)
        return "-".join(words).replace(", ", "-").replace(" ", "-")


# --- images


def load(settings: Settings, run: pj.Config) -> tuple[ImageSet, ImageSet, ImageSet]:
    """Training, validation and test images, as the model takes them."""
    if settings.arrays is None:
        source = dataclasses.replace(run.data, data_dir=settings.data_dir)
        splits = data.load(source, run.model)
        train, validation, test = splits.train, splits.validation, splits.test
    else:
        both = _read_array(settings.arrays / "train.npz", run.model)
        test = _read_array(settings.arrays / "test.npz", run.model)
        order = np.random.default_rng(0).permutation(len(both))
        held_out, rest = np.split(order, [run.data.validation_images])
        train, validation = both.choose(np.sort(rest)), both.choose(held_out)
    sizes = (256, 32, 32) if settings.quick else (None, None, settings.test_images)
    parts = zip((train, validation, test), sizes, strict=True)
    train, validation, test = (
        part.for_model(run.model).choose(slice(size)) for part, size in parts
    )
    return train, validation, test


def _read_array(path: Path, model: config.ModelConfig) -> ImageSet:
    images = np.load(path, allow_pickle=False)["images"]
    resized = data.resize(images, model.height, model.width)
    return ImageSet(data.quantize(resized, model.levels, resized=True), None)


# --- minutes


def clock() -> float:
    """Seconds of all cores on a CPU, of the wall elsewhere."""
    if jax.default_backend() == "cpu":
        return time.process_time() / jax.device_count()
    return time.monotonic()


def update_seconds(run: pj.Config) -> float:
    """Seconds of an update on random images, the median of some windows."""
    work = worker.Work(
        "training",
        type(run.model).__name__,
        dataclasses.asdict(run.model),
        run.training.batch_size,
        steps=4,
    )
    update, key, found = work.prepared(), jax.random.key(0), []
    for _ in range(5):
        began = clock()
        jax.block_until_ready(update(key))
        found.append((clock() - began) / work.steps)
    return statistics.median(found)


def fitted(run: pj.Config, train: ImageSet, updates: int) -> tuple[pj.Config, ImageSet]:
    """So many updates, as epochs of as many images as make them whole.

    The warm-up is a tenth of the updates at most.
    """
    size = run.training.batch_size
    updates = max(1, updates)
    epochs = math.ceil(updates / math.ceil(len(train) / size))
    few = updates // epochs * size
    if few < len(train):
        order = np.random.default_rng(0).permutation(len(train))
        train = train.choose(np.sort(order[:few]))
    made = epochs * math.ceil(len(train) / size)
    warmup = min(run.training.warmup_steps, made // 10)
    training = dataclasses.replace(run.training, epochs=epochs, warmup_steps=warmup)
    return dataclasses.replace(run, training=training), train


# --- one recipe


def train_and_test(settings: Settings, recipe: str, minutes: float) -> dict[str, Any]:
    """The figures of one recipe after so many minutes."""
    run = STUDIES[settings.study][recipe]
    model = dataclasses.replace(run.model, dtype=settings.dtype)
    if settings.quick:
        model = type(model).tiny(
            height=4,
            width=4,
            levels=model.levels,
            distribution=model.distribution,
            num_classes=model.num_classes,
        )
    run = dataclasses.replace(run, model=model)
    train, validation, test = load(settings, run)
    folder = settings.workdir / settings.run_name(recipe, minutes)
    each = seconds_in(folder, run)
    updates = 4 if settings.quick else round(60 * minutes / each)
    run, train = fitted(run, train, updates)
    _, history = pj.fit(run, train, validation, workdir=folder)
    trained, best = pj.load(folder), Run(folder).checkpoints.choose("best")
    found = evaluate(trained, test.images, test.labels)
    write_samples(settings, recipe, minutes, trained)
    result = {
        **report.environment(),
        "study": settings.study,
        "recipe": recipe,
        "asked_minutes": minutes,
        "kind": model.kind,
        "config": json.loads(config.to_json(run)),
        "parameters": sum(x.size for x in jax.tree.leaves(to_params(trained)[1])),
        "seconds_per_update": each,
        "updates": history[-1].step,
        "epochs": run.training.epochs,
        "images": len(train),
        "minutes": history[-1].step * each / 60,
        "best_minutes": best * each / 60,
        "test_images": len(test),
        "nats_per_image": found.nats_per_image,
        "bits_per_dim": found.bits_per_dim,
        "standard_error": found.bits_per_dim_standard_error,
        "curve": [
            [row.step * each / 60, row.validation_bits_per_dim] for row in history
        ],
    }
    if test.labels is not None:
        weights = data.class_frequencies(test.labels, model.num_classes)
        marginal = evaluate_marginal(trained, test.images, weights)
        result["marginal_bits_per_dim"] = marginal.bits_per_dim
    return result


def seconds_in(folder: Path, run: pj.Config) -> float:
    """Seconds of an update; kept beside the run, which has its length from them."""
    file = folder.with_suffix(".json")
    if not file.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"seconds_per_update": update_seconds(run)}))
    return json.loads(file.read_text())["seconds_per_update"]


def write_samples(
    settings: Settings, recipe: str, minutes: float, model: pj.PixelModel
) -> None:
    """A picture of 64 samples, beside the JSON file."""
    classes = model.config.num_classes
    labels = np.arange(64) % classes if classes else None
    images = np.asarray(pj.sample(model, jax.random.key(0), 64, labels=labels))
    picture = pictures.to_png(pictures.grid(images, model.config.levels, labels))
    file_of(settings, recipe, minutes).with_suffix(".png").write_bytes(picture)


def file_of(settings: Settings, recipe: str, minutes: float) -> Path:
    """Where the figures of a recipe are kept."""
    folder = settings.output / "quality"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{settings.run_name(recipe, minutes)}.json"


# --- all of them


def main(settings: Settings) -> None:
    worker.configure()
    recipes = settings.recipes or tuple(STUDIES[settings.study])
    for minutes, recipe in itertools.product(settings.minutes, recipes):
        file = file_of(settings, recipe, minutes)
        if not file.exists():
            result = train_and_test(settings, recipe, minutes)
            file.write_text(json.dumps(result, indent=2) + "\n")
    write_study(settings.study, settings.output)


if __name__ == "__main__":
    main(report.apart(tyro.cli(Settings, description=__doc__)))
