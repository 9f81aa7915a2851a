"""Write a trained model's sampler into a file that needs no model's code."""

import dataclasses
from pathlib import Path
from typing import Annotated

from pixelcnn_jax.arguments import require_count
from pixelcnn_jax.commands.choices import parse_size
from pixelcnn_jax.commands.flags import Command, flags_of, parse, require_both, required
from pixelcnn_jax.commands.image_files import require_writable
from pixelcnn_jax.commands.sample_settings import NUM_IMAGES
from pixelcnn_jax.commands.which_run import Checkpoint, RunName
from pixelcnn_jax.exporting import export_sampler
from pixelcnn_jax.output import say
from pixelcnn_jax.runs import load
from pixelcnn_jax.sampling import Method

ABOUT = "Write a trained model's sampler as one program for CPUs, GPUs and TPUs."
CONDITIONS = (
    "The sampler must be given all classes and conditions that the model takes, that of"
    " a model with condition dropout too."
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Whose sampler, and where to."""

    workdir: Annotated[RunName, *required("RUN")]
    output: Annotated[str, *required("OUTPUT")]
    """The file to write, .pxs."""
    checkpoint: Checkpoint = "best"
    num_images: int = NUM_IMAGES
    """How many images a call draws, all at a time."""
    method: Method = "auto"
    """How to sample; the images are the same. auto chooses between cached and
    wavefront; full is the slow textbook loop."""
    size: str | None = None
    """Height and width of the images, such as 32x64; left out: as in training."""
    map_size: str | None = None
    """Height and width of the condition maps that it will be given, for a model that
    takes them; left out: those of the images."""


FLAGS = flags_of(("checkpoint", "num_images", "method", "size", "map_size"))


def run(args: list[str], program: str) -> None:
    """Export what the arguments ask for.

    Raises:
        UserError: an argument is wrong, or see `pixelcnn_jax.export_sampler`.
    """
    about = f"{ABOUT} {CONDITIONS}"
    settings = parse(Settings, Settings("", ""), args, program, about)
    what = "the run and the output"
    require_both(settings.workdir, settings.output, program, what)
    require_count("num_images", settings.num_images)
    output = Path(settings.output)
    require_writable(output, (".pxs",))
    size = parse_size(settings.size)
    map_size = parse_size(settings.map_size, "map_size")
    model = load(settings.workdir, settings.checkpoint)
    export_sampler(
        model,
        output,
        settings.num_images,
        method=settings.method,
        size=size,
        map_size=map_size,
    )
    say(
        f"{output}: {settings.num_images} images per call,"
        f" {output.stat().st_size} bytes, weights included"
    )


COMMAND = Command("export", ABOUT, FLAGS, run)
