"""Draw images from a trained model: python sample.py [OPTIONS]"""

import dataclasses
import os
import re
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import pixelcnn_jax as pj
from pixelcnn_jax import checkpoints, cli, images, sampling
from pixelcnn_jax.errors import UserError, require


@dataclasses.dataclass(frozen=True)
class Settings:
    workdir: str = "digits"
    """A run's folder, or the model that ships with the package: digits."""
    checkpoint: checkpoints.Which = "best"
    """The best on the validation images (the latest if there were none), or the
    latest."""
    num_images: int = 64
    """How many images to draw."""
    seed: int = 0
    """The same seed draws the same images."""
    temperature: float = 1.0
    """1 samples the model; less gives likelier images, 0 the likeliest levels."""
    batch_size: int = 256
    """Images drawn at a time: bounds memory, changes no image."""
    method: sampling.Method = "auto"
    """How to sample; the images are the same. auto chooses between cached and
    wavefront; full is the slow textbook loop."""
    labels: str | None = None
    """Classes to draw, for a model with classes, in turn: 3 or 0-9 or 1,4. All of them
    if left out."""
    output: str = "samples.png"
    """.png: a grid to look at; .npy or .npz: the levels as integers [N, H, W, C]."""


def classes(text: str | None, num_images: int, num_classes: int) -> np.ndarray | None:
    """The class of each image, int ``[num_images]``, from the text of ``--labels``."""
    if num_classes == 0:
        require(
            text is None,
            f"--labels needs a model with classes, got {text} for one without;"
            " leave it out",
        )
        return None
    named = f"0-{num_classes - 1}" if text is None else text
    parts = [re.fullmatch(r"(\d+)(?:-(\d+))?", part) for part in named.split(",")]
    bounds = [(int(part[1]), int(part[2] or part[1])) for part in parts if part]
    require(
        all(parts) and all(low <= high < num_classes for low, high in bounds),
        f"--labels must be classes from 0 to {num_classes - 1}, such as 3 or 0-2 or"
        f" 1,4, got {named}",
    )
    chosen = [label for low, high in bounds for label in range(low, high + 1)]
    return np.resize(chosen, num_images)


def save(
    output: Path, drawn: np.ndarray, levels: int, labels: np.ndarray | None
) -> None:
    """Write the images in the format that the file's name asks for."""
    if output.suffix == ".png":
        images.save_png(output, images.grid(drawn, levels, labels))
    elif output.suffix == ".npy":
        np.save(output, drawn)
    else:
        arrays: dict[str, Any] = {"images": drawn, "levels": levels}
        if labels is not None:
            arrays["labels"] = labels
        np.savez_compressed(output, **arrays)


def main(args: list[str]) -> None:
    about = "Draw images from a trained model."
    settings = cli.parse(Settings, Settings(), args, "sample.py", about)
    output = Path(settings.output)
    require(
        output.suffix in (".png", ".npy", ".npz"),
        f"--output must end in .png, .npy or .npz, got {output}; try samples.png",
    )
    require(
        output.parent.is_dir()
        and not output.is_dir()
        and os.access(output if output.exists() else output.parent, os.W_OK),
        f"--output must be a file that can be written, in an existing folder, got"
        f" {output}",
    )
    require(
        0 <= settings.seed < 2**32,
        f"--seed must be at least 0 and below 2**32, got {settings.seed}; try 0",
    )
    model = pj.load(settings.workdir, settings.checkpoint)
    require(
        settings.num_images >= 1,
        f"--num-images must be at least 1, got {settings.num_images}; try 64",
    )
    labels = classes(settings.labels, settings.num_images, model.config.num_classes)
    began = time.perf_counter()
    drawn = np.asarray(
        pj.sample(
            model,
            jax.random.key(settings.seed),
            settings.num_images,
            temperature=settings.temperature,
            labels=labels,
            method=settings.method,
            batch_size=settings.batch_size,
        )
    )
    seconds = time.perf_counter() - began
    try:
        save(output, drawn, model.config.levels, labels)
    except OSError as error:
        raise UserError(f"{output} could not be written: {error.strerror}") from error
    print(f"{output}: {len(drawn)} images in {seconds:.1f} s, compilation included")


if __name__ == "__main__":
    cli.main(main)
