"""Print the likelihood of a set of images under a trained model."""

import dataclasses
from typing import Literal

import numpy as np

from pixelcnn_jax import data
from pixelcnn_jax.commands.flags import Command, flags_of, parse
from pixelcnn_jax.errors import require
from pixelcnn_jax.likelihood import Evaluation, evaluate, evaluate_marginal
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
    data_dir: str | None = None
    """Where the data are, if not where the run found them."""
    batch_size: int = 128
    """Images evaluated at a time: bounds memory, changes no figure."""


FLAGS = flags_of(field.name for field in dataclasses.fields(Settings)) | {
    "data.data_dir": "--data-dir"
}


def run(args: list[str], program: str) -> None:
    """Evaluate what the arguments ask for.

    Raises:
        UserError: one of them is wrong, or the run or its data can't be read.
    """
    settings = parse(Settings, Settings(), args, program, ABOUT)
    found = Run.named(settings.workdir)
    config = found.config()
    named = config.data
    if settings.data_dir is not None:
        named = dataclasses.replace(named, data_dir=settings.data_dir)
    model = found.load(settings.checkpoint)
    splits = data.load(named, config.model)
    parts = {
        "train": (splits.train, data.TRAIN_SEED),
        "validation": (splits.validation, data.VALIDATION_SEED),
        "test": (splits.test, data.TEST_SEED),
    }
    images, seed = parts[settings.split]
    step = found.checkpoints.choose(settings.checkpoint)
    print(
        f"{named.source} {settings.split}: {len(images)} images, {found.path} at step"
        f" {step}"
    )
    levels, images = images.levels(seed), images.for_model(config.model)
    given = evaluate(model, levels, images.labels, settings.batch_size)
    if config.model.num_classes == 0:
        _print(given)
        return
    _print(given, "given the class")
    weights = _class_weights(splits)
    _print(
        evaluate_marginal(model, levels, weights, settings.batch_size),
        "the class not known",
    )


def _class_weights(splits: data.Splits) -> np.ndarray:
    labels = splits.train.labels
    require(labels is not None, "the training images must have labels, got none")
    return data.class_frequencies(np.asarray(labels), splits.num_classes)


def _print(found: Evaluation, condition: str = "") -> None:
    """The figures of a data set."""
    note = f"  ({condition})" if condition else ""
    nats, error = found.nats_per_image, found.nats_standard_error
    print(f"  {nats:.3f} +- {error:.3f} nats/image{note}")
    bits, error = found.bits_per_dim, found.bits_per_dim_standard_error
    print(f"  {bits:.4f} +- {error:.4f} bits/dim{note}")


COMMAND = Command("evaluate", ABOUT, FLAGS, run)
