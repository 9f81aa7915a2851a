"""Draw images from a trained model into a file."""

import dataclasses
import re
import time
from pathlib import Path

import jax
import numpy as np

from pixelcnn_jax import completion, sampling
from pixelcnn_jax.commands.flags import Command, flags_of, parse
from pixelcnn_jax.commands.image_files import require_writable, write_images
from pixelcnn_jax.commands.known_pixels import read_task, strips
from pixelcnn_jax.data import classes_in_turn
from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.exported import load_sampler
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.runs import Which, load

ABOUT = "Draw images from a trained model."

NUM_IMAGES = 64


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to draw, and where to."""

    workdir: str = "digits"
    """A run's folder, or the model that ships with the package: digits."""
    checkpoint: Which = "best"
    """The best on the validation images (the latest if there were none), or the
    latest."""
    num_images: int = NUM_IMAGES
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
    size: str | None = None
    """Height and width of the images, such as 32x64; left out: as in training."""
    complete: str | None = None
    """A .npy or .npz file of images [N, H, W, C] to complete (the first num_images of
    them); a picture then shows each one, what is known of it, and completions."""
    known_rows: int | None = None
    """How many rows at the top are known of the images to complete."""
    known: str | None = None
    """Or a picture that is white where they are known, or a .npy or .npz file of their
    size, or one for each image, that is not 0 there."""
    num_completions: int = 4
    """Completions of each image."""
    sampler: str | None = None
    """Draw by a file that export has written, instead of by a run: as many images as it
    was exported for."""
    output: str = "samples.png"
    """.png: a grid to look at; .npy or .npz: the levels as integers [N, H, W, C], or
    [N, completions, H, W, C]."""


FLAGS = flags_of(field.name for field in dataclasses.fields(Settings))


def run(args: list[str], program: str) -> None:
    """Draw what the arguments ask for.

    Raises:
        UserError: one of them is wrong, or the output can't be written.
    """
    settings = parse(Settings, Settings(), args, program, ABOUT)
    output = Path(settings.output)
    require_writable(output, (".png", ".npy", ".npz"))
    require(
        0 <= settings.seed < 2**32,
        f"seed must be at least 0 and below 2**32, got {settings.seed}; try 0",
    )
    require(
        settings.num_images >= 1,
        f"num_images must be at least 1, got {settings.num_images}; try 64",
    )
    size = parse_size(settings.size)
    began = time.perf_counter()
    if settings.sampler is not None:
        count = _draw_exported(settings, settings.sampler, output)
        _report(output, count, began)
        return
    model = load(settings.workdir, settings.checkpoint)
    began = time.perf_counter()
    if settings.complete is None:
        require(
            settings.known is None and settings.known_rows is None,
            "known and known_rows need images to complete, got none; add complete",
        )
        count = _draw(settings, model, size, output)
    else:
        require(
            size is None,
            f"size must be left out with complete, whose images have one, got"
            f" {settings.size}",
        )
        count = _complete(settings, settings.complete, model, output)
    _report(output, count, began)


def _report(output: Path, count: int, began: float) -> None:
    seconds = time.perf_counter() - began
    print(f"{output}: {count} images in {seconds:.1f} s, compilation included")


def _draw_exported(settings: Settings, path: str, output: Path) -> int:
    """Draw by an exported sampler, and return how many images it draws."""
    kept = ("sampler", "seed", "temperature", "labels", "output")
    given = [
        field.name
        for field in dataclasses.fields(Settings)
        if field.name not in kept and getattr(settings, field.name) != field.default
    ]
    require(
        not given,
        f"sampler fixes what is drawn but for {', '.join(kept[1:4])}, got"
        f" {', '.join(given)}; leave that out, or export another",
    )
    sampler = load_sampler(path)
    header = sampler.header
    labels = parse_labels(settings.labels, header.num_images, header.num_classes)
    drawn = sampler(
        jax.random.key(settings.seed), temperature=settings.temperature, labels=labels
    )
    write_images(output, np.asarray(drawn), header.levels, labels)
    return header.num_images


def _draw(
    settings: Settings, model: PixelModel, size: tuple[int, int] | None, output: Path
) -> int:
    """Draw whole images, and return how many."""
    labels = parse_labels(
        settings.labels, settings.num_images, model.config.num_classes
    )
    drawn = sampling.sample(
        model,
        jax.random.key(settings.seed),
        settings.num_images,
        temperature=settings.temperature,
        labels=labels,
        method=settings.method,
        batch_size=settings.batch_size,
        size=size,
    )
    write_images(output, np.asarray(drawn), model.config.levels, labels)
    return settings.num_images


def _complete(settings: Settings, path: str, model: PixelModel, output: Path) -> int:
    """Complete given images, and return how many completions were drawn."""
    task = read_task(path, settings.known_rows, settings.known, model.config)
    task = task.first(settings.num_images)
    labels = task.labels
    if labels is None or settings.labels is not None:
        classes = model.config.num_classes
        labels = parse_labels(settings.labels, len(task.images), classes)
    drawn = completion.complete(
        model,
        jax.random.key(settings.seed),
        task.images,
        task.known,
        num_completions=settings.num_completions,
        temperature=settings.temperature,
        labels=labels,
        method=settings.method,
        batch_size=settings.batch_size,
    )
    completions, levels = np.asarray(drawn), model.config.levels
    if output.suffix == ".png":
        images, rows = strips(task, completions, levels)
        write_images(output, images, levels, rows)
    else:
        write_images(output, completions, levels, labels)
    return completions.shape[0] * completions.shape[1]


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Height and width from the text of a flag, such as 32x64."""
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if found is None:
        raise UserError(f"size must be height x width, such as 32x64, got {text}")
    return int(found[1]), int(found[2])


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


COMMAND = Command("sample", ABOUT, FLAGS, run)
