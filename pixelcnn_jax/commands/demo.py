"""A page to play with, in a browser on this machine."""

import dataclasses

import numpy as np

from pixelcnn_jax import data
from pixelcnn_jax.commands.demo_page import (
    HOST,
    listen,
    make_app,
    make_server,
    require_gradio,
)
from pixelcnn_jax.commands.flags import Command, flags_of, parse
from pixelcnn_jax.commands.playground import SUGGESTIONS, Playground
from pixelcnn_jax.commands.which_run import Checkpoint, RunName
from pixelcnn_jax.config import Config
from pixelcnn_jax.errors import require
from pixelcnn_jax.output import say
from pixelcnn_jax.runs import Run

ABOUT = "A page in the browser: begin an image, and the model completes it."


@dataclasses.dataclass(frozen=True)
class Settings:
    """Which model, and where the page is."""

    workdir: RunName = "digits"
    checkpoint: Checkpoint = "best"
    port: int = 7860
    """Of this machine, for nobody else; 0: any free one."""


FLAGS = flags_of(field.name for field in dataclasses.fields(Settings))


def run(args: list[str], program: str) -> None:
    """Show the page until the process is stopped.

    Raises:
        UserError: an argument is wrong, the port is taken, or gradio is missing.
    """
    settings = parse(Settings, Settings(), args, program, ABOUT)
    require(
        0 <= settings.port < 2**16,
        f"port must be from 0 to {2**16 - 1}, got {settings.port}; try 7860",
    )
    require_gradio()
    with listen(settings.port) as place:
        found = Run.named(settings.workdir)
        model = found.load(settings.checkpoint)
        app = make_app(Playground(model, *_suggestions(found.config())))
        say(f"http://{HOST}:{place.getsockname()[1]} (Ctrl-C ends)")
        make_server(app).run(sockets=[place])


def _suggestions(config: Config) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Images that the model was not trained on, if they are at hand without a net, and
    their classes."""
    if config.data.source != "digits":
        return None, None
    test = data.load(config.data, config.model).test.first(SUGGESTIONS)
    return np.asarray(test.levels(data.TEST_SEED)), test.for_model(config.model).labels


COMMAND = Command("demo", ABOUT, FLAGS, run)
