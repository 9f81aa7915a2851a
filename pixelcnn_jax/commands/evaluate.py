"""Print the likelihood of a set of images under a trained model."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from pixelcnn_jax import hosts
from pixelcnn_jax.anomaly import require_same_images
from pixelcnn_jax.arguments import require_count
from pixelcnn_jax.commands.anomalies import Comparison
from pixelcnn_jax.commands.flags import SPREADS, Command, flags_of, name_flags, parse
from pixelcnn_jax.commands.image_files import require_writable
from pixelcnn_jax.commands.image_sets import another_set, read_set
from pixelcnn_jax.commands.score_files import FILES, write_scores
from pixelcnn_jax.commands.which_run import Checkpoint, RunName
from pixelcnn_jax.config import IMAGES, DataConfig
from pixelcnn_jax.data import Lazy, require_used
from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.layers import OtherConditions
from pixelcnn_jax.likelihood import (
    Evaluation,
    evaluate,
    evaluate_pixels,
)
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.output import say
from pixelcnn_jax.posterior import evaluate_classes
from pixelcnn_jax.runs import Run, Which

ABOUT = "Print the negative log-likelihood of a data set under a trained model."


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to evaluate, on what."""

    workdir: RunName = "digits"
    checkpoint: Checkpoint = "best"
    split: Literal["train", "validation", "test"] = "test"
    """Which of the images the run was configured for."""
    data: str | None = None
    """Another image set to score, by its name; or your own images, by a path with a /
    in it or ending in .npy or .npz: all of them if they come without splits. Resized
    and quantised as the run's."""
    data_dir: str | None = None
    """Where the data are, if not where the run found them."""
    output: str | None = None
    """A folder for scores.npz (per image and per pixel) and pictures: the most and the
    least likely images, and the mean bits of each pixel."""
    batch_size: int = 128
    """Images evaluated at a time: bounds memory, changes no figure."""
    background: str | None = None
    """A run on the same images with training.mutation, for the likelihood ratio of each
    image to it: what an image has beyond what all images have in common."""
    outliers: str | None = None
    """Another image set, as data: how well do its test images stand out?"""
    outliers_dir: str | None = None
    """Where the outliers are, as data_dir."""


OUTLIERS = {
    "data.data_dir": "--outliers-dir",
    "data.source": "--outliers",
    "data.path": "--outliers",
    "data": "--outliers",
}
"""The flag of each field in messages about the outliers."""

FLAGS = flags_of(field.name for field in dataclasses.fields(Settings)) | {
    "data.data_dir": "--data-dir",
    "data.source": "--data",
    "data.path": "--data",
}


def run(args: list[str], program: str) -> None:
    """Evaluate what the arguments ask for.

    Raises:
        UserError: one of them is wrong, or the run or its data can't be read.
    """
    settings = parse(Settings, Settings(), args, program, f"{ABOUT} {SPREADS}")
    require_count("batch_size", settings.batch_size)
    found = Run.named(settings.workdir)
    config = found.config()
    named = _data_config(settings, config.data)
    model, step = found.load_with_step(settings.checkpoint)
    images, weights = read_set(
        named, config.model, settings.split, another=settings.data is not None
    )
    require(
        len(images) > 0,
        f"split must be one that has images, got {settings.split} with none; take"
        " another, or name data",
    )
    say(
        f"{named.path or named.source} {settings.split}: {len(images)} images,"
        f" {found.path} at step {step}"
    )
    levels, labels = images.images, images.labels
    # Read before any work, so that what is wrong with it is said at once.
    comparison = _comparison(settings, named, model)
    # Before any work, so that a bad folder costs nobody an evaluation; and after all
    # that may be refused, which is to leave no folder behind.
    folder = None if settings.output is None else Path(settings.output)
    if folder is not None:
        hosts.by_first(lambda: _make(folder))
    taken = images.for_model(config.model)
    classes, size = taken.labels, settings.batch_size
    others = OtherConditions(
        condition=taken.condition, condition_map=taken.condition_map
    )
    given = evaluate(model, levels, classes, size, **others)
    _print(given, "" if classes is None else "given the class")
    joint = None
    if classes is not None:
        number, note = model.config.num_classes, "the class not known"
        if settings.data is not None:
            weights, note = np.full(number, 1 / number), f"{note}, all as likely"
        joint = evaluate_classes(model, levels, size, **others) + _logs(weights)
        marginal = -np.logaddexp.reduce(joint, axis=1)
        _print(Evaluation(marginal, given.dims), note)
        right = float((joint.argmax(1) == classes).mean())
        say(f"  {right:.4f} of the classes are the likeliest given the image")
    if labels is not None:
        _print_classes(given, labels)
    compared = comparison.report(model, levels, size, others)
    if folder is not None:
        pixels = evaluate_pixels(model, levels, classes, size, **others)
        rest = (levels, model.config.levels, given, pixels, labels, joint, compared)
        hosts.by_first(lambda: write_scores(folder, *rest))
        say(f"scores and pictures are in {folder}")


def _make(folder: Path) -> None:
    """The folder for the scores, if it is missing, with room for its files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"output must be a folder that can be written, got {folder}"
            f" ({error.strerror})"
        ) from error
    for name in FILES:
        require_writable(folder / name, (Path(name).suffix,))


def _data_config(settings: Settings, named: DataConfig) -> DataConfig:
    """The run's data, or what the flags name in their place."""
    if settings.data is None:
        if settings.data_dir is not None:
            place = "path" if named.source == IMAGES else "data_dir"
            named = dataclasses.replace(named, **{place: settings.data_dir})
        require_used(named, settings.data_dir)
        return named
    place = named.data_dir if settings.data_dir is None else settings.data_dir
    # Another set may be too small to hold out as many images as the run's own.
    held_out = named.validation_images if settings.split == "validation" else 0
    named = another_set(named, settings.data, place, held_out)
    require_used(named, settings.data_dir)
    return named


def _comparison(settings: Settings, named: DataConfig, model: PixelModel) -> Comparison:
    """The background model and the outliers that the flags name."""
    background = outliers = None
    if settings.background is not None:
        background = _background(settings.background, settings.checkpoint)
        require_same_images(model, background)
    if settings.outliers is None:
        require(
            settings.outliers_dir is None,
            f"outliers_dir needs --outliers, got {settings.outliers_dir} only; add"
            " --outliers",
        )
    else:
        c = model.config
        require(
            c.condition_features == c.condition_channels == 0,
            f"outliers need a model without condition vectors or maps, which they lack,"
            f" got {settings.workdir} with some; leave --outliers out",
        )
        try:
            where = settings.outliers, settings.outliers_dir
            outliers = _outliers(*where, named, model)
        except UserError as error:
            raise UserError(name_flags(str(error), OUTLIERS)) from error
    return Comparison(background, outliers)


def _background(run: str, checkpoint: Which) -> PixelModel:
    try:
        return Run.named(run).load(checkpoint)
    except UserError as error:
        raise UserError(
            f"background must be a run that can be read, got {run}: {error}"
        ) from error


def _outliers(
    source: str, data_dir: str | None, named: DataConfig, model: PixelModel
) -> np.ndarray | Lazy:
    other = another_set(named, source, data_dir)
    require_used(other, data_dir)
    # Whatever they show: what does not belong has no class of the model's.
    unlabelled = model.config.without_classes()
    return read_set(other, unlabelled, "test", another=True)[0].images


def _logs(weights: np.ndarray | None) -> np.ndarray:
    """Log-probability of each class, float64 ``[K]``."""
    require(weights is not None, "the training images must have labels, got none")
    with np.errstate(divide="ignore"):  # a class that training never saw
        return np.log(np.asarray(weights))


def _print(found: Evaluation, condition: str = "") -> None:
    """The figures of a data set."""
    note = f"  ({condition})" if condition else ""
    nats, error = found.nats_per_image, found.nats_standard_error
    say(f"  {nats:.3f} +- {error:.3f} nats/image{note}")
    bits, error = found.bits_per_dim, found.bits_per_dim_standard_error
    say(f"  {bits:.4f} +- {error:.4f} bits/dim{note}")


def _print_classes(found: Evaluation, labels: np.ndarray) -> None:
    """The figures of each class."""
    for label in np.unique(labels):
        part = Evaluation(found.nats[labels == label], found.dims)
        nats, error = part.nats_per_image, part.nats_standard_error
        bits, bits_error = part.bits_per_dim, part.bits_per_dim_standard_error
        say(
            f"  class {label}: {nats:.3f} +- {error:.3f} nats/image, {bits:.4f} +-"
            f" {bits_error:.4f} bits/dim, {len(part.nats)} images"
        )


COMMAND = Command("evaluate", ABOUT, FLAGS, run, spreads=True)
