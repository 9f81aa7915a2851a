"""Compress images into a file, and read them back."""

import dataclasses
import time
from pathlib import Path
from typing import Annotated

import numpy as np

from pixelcnn_jax import compression
from pixelcnn_jax.arguments import require_range
from pixelcnn_jax.commands.flags import Command, flags_of, parse, require_both, required
from pixelcnn_jax.commands.image_files import (
    read_images,
    require_different,
    require_writable,
    write,
    write_images,
)
from pixelcnn_jax.commands.which_run import Checkpoint, RunName
from pixelcnn_jax.errors import UserError
from pixelcnn_jax.files import LARGEST, read_bytes
from pixelcnn_jax.models.input_checks import LEVELS_CURE
from pixelcnn_jax.output import say
from pixelcnn_jax.runs import load

ABOUT = "Compress images without loss, by the probabilities of a trained model."
BACK = "Read images that compress has written."


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to compress or decompress, and with which model."""

    input: Annotated[str, *required("INPUT")]
    """The file to read."""
    output: Annotated[str, *required("OUTPUT")]
    """The file to write."""
    workdir: RunName = "digits"
    checkpoint: Checkpoint = "best"


FLAGS = flags_of(("workdir", "checkpoint"))


def compress(args: list[str], program: str) -> None:
    """Compress a .npy or .npz file of images ``[N, H, W, C]`` into a .pxl file.

    Raises:
        UserError: an argument is wrong, or see `pixelcnn_jax.compress`.
    """
    settings = _settings(args, program, ABOUT)
    output = Path(settings.output)
    require_writable(output, (".pxl",))
    images, labels = read_images("input", settings.input)
    model = load(settings.workdir, settings.checkpoint)
    if model.config.num_classes == 0:
        labels = None
    if np.issubdtype(images.dtype, np.integer):
        levels = f"levels of {settings.input}"
        require_range(levels, images, model.config.levels, LEVELS_CURE)
    began = time.perf_counter()
    packed = compression.compress(model, images, labels)
    write(output, packed)
    _report(output, images, len(packed), time.perf_counter() - began)


def decompress(args: list[str], program: str) -> None:
    """Write the images of a .pxl file as .npz, .npy or .png.

    Raises:
        UserError: an argument is wrong, or see `pixelcnn_jax.decompress`.
    """
    settings = _settings(args, program, BACK)
    output = Path(settings.output)
    require_writable(output, (".npz", ".npy", ".png"))
    require_different({"output": settings.output}, {"input": settings.input})
    try:
        packed = read_bytes(Path(settings.input), LARGEST)
    except OSError as error:
        raise UserError(
            f"input must be a file that can be read, got {settings.input}"
            f" ({error.strerror}); pass one that compress has written"
        ) from error
    model = load(settings.workdir, settings.checkpoint)
    began = time.perf_counter()
    images, labels = compression.decompress_with_labels(model, packed)
    write_images(output, images, model.config.levels, labels)
    _report(output, images, len(packed), time.perf_counter() - began)


def _settings(args: list[str], program: str, about: str) -> Settings:
    settings = parse(Settings, Settings("", ""), args, program, about)
    what = "the input and the output"
    require_both(settings.input, settings.output, program, what)
    return settings


def _report(output: Path, images: np.ndarray, size: int, seconds: float) -> None:
    bits = 8 * size / images.size
    say(
        f"{output}: {len(images)} images, {size} bytes compressed, {bits:.4f} bits/dim,"
        f" {len(images) / seconds:.1f} images/s, compilation included"
    )


COMPRESS = Command("compress", ABOUT, FLAGS, compress)
DECOMPRESS = Command("decompress", BACK, FLAGS, decompress)
