"""The likelihood of a data set under a trained model: python evaluate.py [OPTIONS]"""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

import pixelcnn_jax as pj
from pixelcnn_jax import checkpoints, cli, data, likelihood


@dataclasses.dataclass(frozen=True)
class Settings:
    workdir: str = "digits"
    """A run's folder, or the model that ships with the package: digits."""
    checkpoint: checkpoints.Which = "best"
    """The best on the validation images (the latest if there were none), or the
    latest."""
    split: Literal["train", "validation", "test"] = "test"
    """Which of the images the run was configured for."""
    data_dir: str | None = None
    """Where the data are, if not where the run found them."""
    batch_size: int = 128
    """Images evaluated at a time: bounds memory, changes no figure."""


def main(args: list[str]) -> None:
    about = "Print the negative log-likelihood of a data set under a trained model."
    settings = cli.parse(Settings, Settings(), args, "evaluate.py", about)
    run = checkpoints.run_folder(settings.workdir)
    config = checkpoints.read_config(run)
    source = config.data
    if settings.data_dir is not None:
        source = dataclasses.replace(source, data_dir=settings.data_dir)
    model = pj.load(settings.workdir, settings.checkpoint)
    splits = data.load(source, config.model)
    chosen: data.ImageSet = getattr(splits, settings.split)
    step = checkpoints.choose(run, settings.checkpoint)
    print(
        f"{source.source} {settings.split}: {len(chosen)} images, {Path(run)}"
        f" at step {step}"
    )
    images, num_classes = levels_of(chosen, config, settings.split), splits.num_classes
    if config.model.num_classes == 0:
        report(likelihood.evaluate(model, images, None, settings.batch_size))
        return
    given = likelihood.evaluate(model, images, chosen.labels, settings.batch_size)
    report(given, "given the class")
    assert splits.train.labels is not None  # or data.load would have refused
    weights = data.class_frequencies(splits.train.labels, num_classes)
    marginal = likelihood.evaluate_marginal(model, images, weights, settings.batch_size)
    report(marginal, "the class not known")


def levels_of(images: data.ImageSet, config: pj.Config, split: str) -> np.ndarray:
    """The images as levels; training images of dynamic binarisation are drawn once."""
    if config.data.quantization == "dynamic" and split == "train":
        return data.binarize(images.images, (0, 0, 3))
    return images.images


def report(found: likelihood.Evaluation, condition: str = "") -> None:
    """Print the figures of a data set."""
    note = f"  ({condition})" if condition else ""
    nats, error = found.nats_per_image, found.nats_standard_error
    print(f"  {nats:.3f} +- {error:.3f} nats/image{note}")
    bits, error = found.bits_per_dim, found.bits_per_dim_standard_error
    print(f"  {bits:.4f} +- {error:.4f} bits/dim{note}")


if __name__ == "__main__":
    cli.main(main)
