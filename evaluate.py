"""The likelihood of a data set under a trained model: python evaluate.py [OPTIONS]"""

import dataclasses
from pathlib import Path
from typing import Literal

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
    images = getattr(data.load(source, config.model), settings.split)
    found = likelihood.evaluate(model, images, settings.batch_size)
    step = checkpoints.choose(run, settings.checkpoint)
    print(
        f"{source.source} {settings.split}: {len(images)} images, {Path(run)}"
        f" at step {step}"
    )
    print(f"  {found.nats_per_image:.3f} +- {found.nats_standard_error:.3f} nats/image")
    error = found.bits_per_dim_standard_error
    print(f"  {found.bits_per_dim:.4f} +- {error:.4f} bits/dim")


if __name__ == "__main__":
    cli.main(main)
