"""Print the likelihood of a set of images under a trained model."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from pixelcnn_jax import data
from pixelcnn_jax.commands.flags import Command, flags_of, parse
from pixelcnn_jax.commands.score_files import write_scores
from pixelcnn_jax.config import IMAGES, DataConfig, ModelConfig
from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.likelihood import (
    Evaluation,
    ImageRows,
    evaluate,
    evaluate_pixels,
)
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.posterior import evaluate_classes
from pixelcnn_jax.runs import Run, Which

ABOUT = "Print the negative log-likelihood of a data set under a trained model."


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to evaluate, on what."""

    workdir: str = "digits"
    """A run's folder, or the model that ships with the package: digits."""
    checkpoint: Which = "best"
    """The best on the validation images (the latest if there were none), or the
    latest."""
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
    settings = parse(Settings, Settings(), args, program, ABOUT)
    # Before any work, so that a bad folder costs nobody an evaluation.
    folder = None if settings.output is None else _folder(settings.output)
    found = Run.named(settings.workdir)
    config = found.config()
    named = _data_config(settings, config.data)
    model = found.load(settings.checkpoint)
    images, weights = _images(settings, named, config.model)
    step = found.checkpoints.choose(settings.checkpoint)
    print(
        f"{named.path or named.source} {settings.split}: {len(images)} images,"
        f" {found.path} at step {step}"
    )
    levels, labels = images.images, images.labels
    classes = images.for_model(config.model).labels
    given = evaluate(model, levels, classes, settings.batch_size)
    _print(given, "" if classes is None else "given the class")
    joint = None
    if classes is not None:
        joint = _joint(model, levels, weights, settings.batch_size)
        marginal = -np.logaddexp.reduce(joint, axis=1)
        _print(Evaluation(marginal, given.dims), "the class not known")
        right = float((joint.argmax(1) == classes).mean())
        print(f"  {right:.4f} of the classes are the likeliest given the image")
    if labels is not None:
        _print_classes(given, labels)
    if folder is not None:
        pixels = evaluate_pixels(model, levels, classes, settings.batch_size)
        write_scores(folder, levels, model.config.levels, given, pixels, labels, joint)
        print(f"scores and pictures are in {folder}")


def _folder(name: str) -> Path:
    """The folder for the scores, made if it is missing."""
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"output must be a folder that can be written, got {name}"
            f" ({error.strerror})"
        ) from error
    return folder


def _data_config(settings: Settings, named: DataConfig) -> DataConfig:
    """The run's data, or what the flags name in their place."""
    if settings.data_dir is not None:
        place = "path" if named.source == IMAGES else "data_dir"
        named = dataclasses.replace(named, **{place: settings.data_dir})
    if settings.data is None:
        return named
    # Another set may be too small to hold out as many images as the run's own.
    held_out = named.validation_images if settings.split == "validation" else 0
    if "/" in settings.data or settings.data.endswith((".npy", ".npz")):
        return dataclasses.replace(
            named, source=IMAGES, path=settings.data, validation_images=held_out
        )
    return dataclasses.replace(
        named,
        source=settings.data,
        validation_images=held_out,
        path=None,
        fit="resize",
        values="auto",
    )


def _images(
    settings: Settings, named: DataConfig, model: ModelConfig
) -> tuple[data.ImageSet, np.ndarray | None]:
    """The images to score, as levels, and how often each class is met in training."""
    own = data.open_own(named) if named.source == IMAGES else None
    if own is not None and own.split is None and settings.data is not None:
        whole = data.own_set(own, named, model)
        return whole, _class_weights(whole.labels, model.num_classes)
    splits = data.load(named, model)
    parts = {
        "train": (splits.train, data.TRAIN_SEED),
        "validation": (splits.validation, data.VALIDATION_SEED),
        "test": (splits.test, data.TEST_SEED),
    }
    images, seed = parts[settings.split]
    levels = dataclasses.replace(images, images=images.levels(seed), brightness=False)
    return levels, _class_weights(splits.train.labels, model.num_classes)


def _joint(
    model: PixelModel,
    levels: ImageRows,
    weights: np.ndarray | None,
    batch_size: int,
) -> np.ndarray:
    """Log-probability of each image together with each class, float64 ``[N, K]``."""
    require(weights is not None, "the training images must have labels, got none")
    with np.errstate(divide="ignore"):  # a class that training never saw
        log_weights = np.log(np.asarray(weights))
    return evaluate_classes(model, levels, batch_size) + log_weights


def _class_weights(labels: np.ndarray | None, classes: int) -> np.ndarray | None:
    if labels is None or classes == 0:
        return None
    return data.class_frequencies(labels, classes)


def _print(found: Evaluation, condition: str = "") -> None:
    """The figures of a data set."""
    note = f"  ({condition})" if condition else ""
    nats, error = found.nats_per_image, found.nats_standard_error
    print(f"  {nats:.3f} +- {error:.3f} nats/image{note}")
    bits, error = found.bits_per_dim, found.bits_per_dim_standard_error
    print(f"  {bits:.4f} +- {error:.4f} bits/dim{note}")


def _print_classes(found: Evaluation, labels: np.ndarray) -> None:
    """The figures of each class."""
    for label in np.unique(labels):
        part = Evaluation(found.nats[labels == label], found.dims)
        nats, error = part.nats_per_image, part.nats_standard_error
        bits, bits_error = part.bits_per_dim, part.bits_per_dim_standard_error
        print(
            f"  class {label}: {nats:.3f} +- {error:.3f} nats/image, {bits:.4f} +-"
            f" {bits_error:.4f} bits/dim, {len(part.nats)} images"
        )


COMMAND = Command("evaluate", ABOUT, FLAGS, run)
