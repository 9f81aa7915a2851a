"""Draw images from a trained model into a file."""

import dataclasses
import io
import os
import re
import time
from pathlib import Path

import jax
import numpy as np

from pixelcnn_jax import pictures, sampling
from pixelcnn_jax.commands.flags import Command, flags_of, parse
from pixelcnn_jax.data import classes_in_turn
from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.files import write_bytes
from pixelcnn_jax.runs import Which, load

ABOUT = "Draw images from a trained model."


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to draw, and where to."""

    workdir: str = "digits"
    """A run's folder, or the model that ships with the package: digits."""
    checkpoint: Which = "best"
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


FLAGS = flags_of(field.name for field in dataclasses.fields(Settings))


def run(args: list[str], program: str) -> None:
    """Draw what the arguments ask for.

    Raises:
        UserError: one of them is wrong, or the output can't be written.
    """
    settings = parse(Settings, Settings(), args, program, ABOUT)
    output = Path(settings.output)
    _require_writable(output)
    require(
        0 <= settings.seed < 2**32,
        f"seed must be at least 0 and below 2**32, got {settings.seed}; try 0",
    )
    require(
        settings.num_images >= 1,
        f"num_images must be at least 1, got {settings.num_images}; try 64",
    )
    model = load(settings.workdir, settings.checkpoint)
    classes = model.config.num_classes
    labels = parse_labels(settings.labels, settings.num_images, classes)
    began = time.perf_counter()
    drawn = np.asarray(
        sampling.sample(
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
    _save(output, drawn, model.config.levels, labels)
    print(f"{output}: {len(drawn)} images in {seconds:.1f} s, compilation included")


def _require_writable(output: Path) -> None:
    require(
        output.suffix in (".png", ".npy", ".npz"),
        f"output must end in .png, .npy or .npz, got {output}; try samples.png",
    )
    require(
        output.parent.is_dir()
        and not output.is_dir()
        and os.access(output if output.exists() else output.parent, os.W_OK),
        f"output must be a file that can be written, in an existing folder, got"
        f" {output}",
    )


def parse_labels(
    text: str | None, num_images: int, num_classes: int
) -> np.ndarray | None:
    """The class of each image, int32 ``[num_images]``, from the text of a flag."""
    if num_classes == 0:
        require(
            text is None,
            f"labels need a model with classes, got {text} for one without; leave them"
            " out",
        )
        return None
    named = f"0-{num_classes - 1}" if text is None else text
    parts = [re.fullmatch(r"(\d+)(?:-(\d+))?", part) for part in named.split(",")]
    bounds = [(int(part[1]), int(part[2] or part[1])) for part in parts if part]
    require(
        all(parts) and all(low <= high < num_classes for low, high in bounds),
        f"labels must be classes from 0 to {num_classes - 1}, such as 3 or 0-2 or"
        f" 1,4, got {named}",
    )
    chosen = [label for low, high in bounds for label in range(low, high + 1)]
    return classes_in_turn(chosen, num_images)


def _save(
    output: Path, drawn: np.ndarray, levels: int, labels: np.ndarray | None
) -> None:
    """Write the images in the format that the file's name asks for."""
    file = io.BytesIO()
    if output.suffix == ".png":
        file.write(pictures.to_png(pictures.grid(drawn, levels, labels)))
    elif output.suffix == ".npy":
        np.save(file, drawn)
    elif labels is None:
        np.savez_compressed(file, images=drawn, levels=levels)
    else:
        np.savez_compressed(file, images=drawn, levels=levels, labels=labels)
    try:
        write_bytes(output, file.getvalue())
    except OSError as error:
        raise UserError(f"{output} could not be written: {error.strerror}") from error


COMMAND = Command("sample", ABOUT, FLAGS, run)
