"""The flags of the sample command, and what they may say together."""

import dataclasses
import os
from pathlib import Path
from typing import Literal

from pixelcnn_jax import sampling
from pixelcnn_jax.arguments import require_count
from pixelcnn_jax.commands.flags import flags_of
from pixelcnn_jax.commands.image_files import require_different
from pixelcnn_jax.commands.which_run import Checkpoint, RunName
from pixelcnn_jax.errors import require

NUM_IMAGES = 64


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to draw, and where to."""

    workdir: RunName = "digits"
    checkpoint: Checkpoint = "best"
    num_images: int | None = None
    """How many images to draw; 64 if left out."""
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
    if left out. none: no class, for a model that was trained with
    model.condition-dropout."""
    size: str | None = None
    """Height and width of the images, such as 32x64; left out: as in training."""
    complete: str | None = None
    """Images to complete (the first num_images of them): a .npy or .npz file of levels
    [N, H, W, C], or a folder of image files, which are resized and quantised as the
    run's. A picture then shows each one, what is known of it, and completions."""
    known_rows: int | None = None
    """How many rows at the top are known of the images to complete."""
    known: str | None = None
    """Or a picture that is white where they are known, or a .npy or .npz file of their
    size, or one for each image, that is not 0 there."""
    num_completions: int | None = None
    """Completions of each image; 4 if left out."""
    sampler: str | None = None
    """Draw by a file that export has written, instead of by a run: as many images as it
    was exported for."""
    output: str = "samples.png"
    """.png: a grid to look at; .npy or .npz: the levels as integers [N, H, W, C], or
    [N, completions, H, W, C]. A folder, such as samples/: any number of images in many
    files; if it is stopped, the same command goes on."""
    format: Literal["npz", "npy", "png"] | None = None
    """Of the files in a folder: npz or npy (many images each, as levels), or png (one
    file per image). npz if left out."""

    animate: str | None = None
    """.gif or .webp: the images as they fill in, step by step of the method that draws
    them; what a step draws is marked."""
    entropy: str | None = None
    """.png: where the model hesitated, the entropy of each drawn pixel's law."""
    conditions: str | None = None
    """A .npz file with condition and condition_map, for a model that is conditioned on
    them: its rows in turn, one for each image."""
    guidance: float = 1.0
    """Above 1: follow class and conditions more closely than the model does, for one
    that was trained with model.condition-dropout. Such images do not follow the model's
    likelihood."""

    @property
    def count(self) -> int:
        """How many images to draw."""
        return NUM_IMAGES if self.num_images is None else self.num_images

    @property
    def watched(self) -> list[str]:
        """The flags that ask how the images came about."""
        flags = {"animate": self.animate, "entropy": self.entropy}
        return [name for name, path in flags.items() if path is not None]


FLAGS = flags_of(field.name for field in dataclasses.fields(Settings))


def is_folder(output: str) -> bool:
    """Whether the text of the flag names a folder: by its end, or since there is one.

    A name without an ending names a folder, too.
    """
    path = Path(output)
    return output.endswith(("/", os.sep)) or path.is_dir() or not path.suffix


def check(settings: Settings, folder: bool) -> None:
    """Raise if flags contradict each other or are out of range."""
    require(
        0 <= settings.seed < 2**32,
        f"seed must be at least 0 and below 2**32, got {settings.seed}; try 0",
    )
    require_count("num_images", settings.count)
    require_count("batch_size", settings.batch_size)
    require(
        folder or settings.format is None,
        f"format must be left out if the output is a file, got {settings.format}; end"
        " the output with /",
    )
    written = {"output": None if folder else settings.output}
    written |= {"animate": settings.animate, "entropy": settings.entropy}
    inputs = ("complete", "known", "conditions", "sampler")
    require_different(written, {name: getattr(settings, name) for name in inputs})
    completes = settings.complete is not None
    require(
        completes or (settings.known is None and settings.known_rows is None),
        "known and known_rows need images to complete, got none; add --complete",
    )
    require(
        completes or settings.num_completions is None,
        "num_completions needs images to complete, got"
        f" {settings.num_completions} and none; add --complete",
    )
    if settings.num_completions is not None:
        require_count("num_completions", settings.num_completions)
    require(
        not (completes and settings.size),
        "size must be left out with --complete, whose images have one, got"
        f" {settings.size}",
    )
    require(
        not (folder and settings.sampler),
        f"output must be a file with --sampler, got {settings.output}; try samples.npz",
    )
    require(
        not (completes and folder),
        f"output must be a file with --complete, got {settings.output}; try"
        " samples.npz",
    )
