"""Draw images from a trained model into a file or a folder."""

import time
from pathlib import Path

from pixelcnn_jax import hosts
from pixelcnn_jax.commands.choices import parse_labels, parse_size
from pixelcnn_jax.commands.flags import SPREADS, Command, parse
from pixelcnn_jax.commands.image_files import require_writable
from pixelcnn_jax.commands.sample_jobs import Job, draw_exported
from pixelcnn_jax.commands.sample_settings import FLAGS, Settings, check, is_folder
from pixelcnn_jax.commands.watch import check_watch
from pixelcnn_jax.output import say
from pixelcnn_jax.runs import load
from pixelcnn_jax.training.stopping import StopRequest

__all__ = ["COMMAND", "FLAGS", "parse_labels", "run"]

ABOUT = "Draw images from a trained model."


def run(args: list[str], program: str) -> None:
    """Draw what the arguments ask for.

    Raises:
        UserError: one of them is wrong, or the output can't be written.
    """
    settings = parse(Settings, Settings(), args, program, f"{ABOUT} {SPREADS}")
    output = Path(settings.output)
    folder = is_folder(settings.output)
    if not folder:
        suffixes = (".png", ".npy", ".npz")
        hosts.by_first(lambda: require_writable(output, suffixes))
    check(settings, folder)
    check_watch(settings, folder)
    size = parse_size(settings.size)
    began = time.perf_counter()
    if settings.sampler is not None:
        count = draw_exported(settings, settings.sampler, output)
        _report(output, count, began)
        return
    model = load(settings.workdir, settings.checkpoint)
    began = time.perf_counter()
    with StopRequest() as stop:
        job = Job(settings, model, size, output, stop)
        if settings.complete is not None:
            count = job.complete(settings.complete)
        else:
            count = job.fill() if folder else job.draw()
    if count == 0:
        say(f"{output}: all {settings.count} images are there already")
        return
    _report(output, count, began)


def _report(output: Path, count: int, began: float) -> None:
    seconds = time.perf_counter() - began
    say(f"{output}: {count} images in {seconds:.1f} s, compilation included")


COMMAND = Command("sample", ABOUT, FLAGS, run, spreads=True)
