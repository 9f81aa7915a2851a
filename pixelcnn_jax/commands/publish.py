"""Copy a trained model into a folder to share."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Annotated

from pixelcnn_jax import data
from pixelcnn_jax.commands.flags import Command, flags_of, parse, require_both, required
from pixelcnn_jax.commands.model_card import Figures, model_card
from pixelcnn_jax.commands.which_run import Checkpoint
from pixelcnn_jax.config import Config
from pixelcnn_jax.errors import require
from pixelcnn_jax.files import write_text
from pixelcnn_jax.likelihood import evaluate
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.output import say
from pixelcnn_jax.runs import Run, model_folder, write_model, written_to

ABOUT = "Copy what sampling needs of a run into a folder to share, with a model card."


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to publish, and where to."""

    run: Annotated[str, *required("RUN")]
    """A run's folder."""
    folder: Annotated[str, *required("FOLDER")]
    """The folder to make."""
    checkpoint: Checkpoint = "best"
    licence: str | None = None
    """Of the weights, such as MIT, for the model card."""
    evaluate: bool = False
    """Measure the bits per dimension of the test images too, for the model card."""


FLAGS = flags_of(("checkpoint", "licence", "evaluate"))


def run(args: list[str], program: str) -> None:
    """Publish what the arguments ask for.

    Raises:
        UserError: one of them is wrong, the run can't be read or the folder not
            written.
    """
    settings = parse(Settings, Settings("", ""), args, program, ABOUT)
    what = "the run and the folder"
    require_both(settings.run, settings.folder, program, what)
    source, target = Run.named(settings.run), Path(settings.folder)
    config = shared_config(source.config(), target.name)
    with model_folder(target) as place:
        model, step = source.load_with_step(settings.checkpoint)
        test = _test_bits(model, source.config()) if settings.evaluate else None
        validation = source.checkpoints.bits_per_dim(step)
        figures = Figures(step, validation, test)
        card = model_card(target.name, model, config, figures, settings.licence)
        with written_to(target):
            write_model(place, model, config, step, validation)
            write_text(place / "README.md", card)
            write_text(place / "SHA256SUMS", checksums(place))
    say(f"{target}: {source.path} at step {step}, with checksums and README.md")


def shared_config(config: Config, name: str) -> Config:
    """The settings without the places of the machine that trained."""
    data, training = config.data, config.training
    path = None if data.path is None else Path(data.path).name
    data = dataclasses.replace(data, data_dir=None, path=path)
    if training.init_from is not None:
        origin = Path(training.init_from).name
        training = dataclasses.replace(training, init_from=origin)
    return dataclasses.replace(
        config, workdir=f"runs/{name}", data=data, training=training
    )


def _test_bits(model: PixelModel, config: Config) -> float:
    test = data.load(config.data, config.model).test.for_model(config.model)
    require(
        len(test) > 0,
        "evaluate needs test images, and the run's data have none, got 0; leave it out",
    )
    return evaluate(
        model,
        test.levels(data.TEST_SEED),
        test.labels,
        condition=test.condition,
        condition_map=test.condition_map,
    ).bits_per_dim


def checksums(folder: Path) -> str:
    """A line per file, as ``sha256sum --check`` reads them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}"
        f"  {path.relative_to(folder).as_posix()}\n"
        for path in files
    )


COMMAND = Command("publish", ABOUT, FLAGS, run)
