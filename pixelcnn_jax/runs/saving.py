"""Models in folders of their own: what sampling needs of a run, and nothing else."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pixelcnn_jax.config import ARRAYS, AnyModelConfig, Config, DataConfig
from pixelcnn_jax.errors import UserError
from pixelcnn_jax.files import new_folder
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.params import to_params, unbound
from pixelcnn_jax.runs.run import Run


def save(model: PixelModel, folder: str | Path) -> None:
    """Write a model, however it was trained, so that `load` reads it.

    The folder is that of a run without its training: settings, and one checkpoint of
    the parameters with checksums. It appears whole or not at all.

    Args:
        model: a model of this package, with concrete parameters.
        folder: a new or an empty one.

    Raises:
        UserError: ``model`` is none, or the folder is neither or can't be written.
    """
    settings = getattr(model, "config", None)
    # Not of any class: a reader builds the model anew from its settings.
    if not isinstance(model, PixelModel) or not isinstance(settings, AnyModelConfig):
        raise UserError(
            f"model must be one of this package, got {type(model).__name__}; pass what"
            " build_model or fit returned"
        )
    data = DataConfig(ARRAYS, validation_images=0)
    config = Config(workdir=str(folder), model=settings, data=data)
    with model_folder(folder) as place, written_to(folder):
        write_model(place, model, config)


@contextlib.contextmanager
def model_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to fill with a model, which appears whole or not at all.

    What goes wrong while it is filled is raised as it is: see `written_to`.

    Raises:
        UserError: it exists and is not empty, or can't be made.
    """
    path = Run(folder).path
    with contextlib.ExitStack() as stack:
        with written_to(folder):
            place = stack.enter_context(new_folder(path))
        yield place
        # Here it takes its place.
        with written_to(folder):
            stack.close()


@contextlib.contextmanager
def written_to(folder: str | Path) -> Iterator[None]:
    """Where nothing but a folder is written: what the system refuses is due to it.

    Raises:
        UserError: it is taken, or can't be written.
    """
    try:
        yield
    except FileExistsError as error:
        raise UserError(
            f"folder must be a new or an empty one, got {Path(folder)}; pass another,"
            " or move what stands there"
        ) from error
    except OSError as error:
        raise UserError(
            f"folder must be one that can be written, got {Path(folder)}"
            f" ({error.strerror}); pass another"
        ) from error


def write_model(
    place: Path,
    model: PixelModel,
    config: Config,
    step: int = 0,
    bits_per_dim: float | None = None,
) -> None:
    """Write settings and parameters into an empty folder.

    Args:
        place: the folder.
        model: whose parameters.
        config: the settings to write down, with the model's own.
        step: updates behind the parameters.
        bits_per_dim: on the validation images, if it was measured.
    """
    run = Run(place)
    run.write_config(config)
    params = unbound(to_params(model)[1])  # onto one device, wherever they are
    run.save(step, {"params": params}, bits_per_dim, config)
