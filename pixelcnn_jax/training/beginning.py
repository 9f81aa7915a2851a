"""The weights that a new run begins with: drawn, or those of another run."""

import jax

from pixelcnn_jax.config import Config
from pixelcnn_jax.data import ImageSet
from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.params import Params, from_params, to_params
from pixelcnn_jax.runs import load
from pixelcnn_jax.training.calibration import calibrated

LISTED = 6
"""Parameters that a message lists before it counts the others."""


def first_model(model: PixelModel, config: Config, images: ImageSet) -> PixelModel:
    """The model before the first update.

    Args:
        model: with its first weights, drawn.
        config: of the run.
        images: of training, as the model takes them.

    Raises:
        UserError: the weights of `TrainingConfig.init_from` can't be read or do not
            fit.
    """
    run = config.training.init_from
    if run is None:
        return calibrated(model, config, images)
    return with_weights_of(model, run)


def with_weights_of(model: PixelModel, run: str) -> PixelModel:
    """The model with the best weights of a run, whose shapes must be its own.

    Raises:
        UserError: there is no such run, or a shape is another; the message lists them.
    """
    try:
        other = load(run)
    except UserError as error:
        raise UserError(
            f"training.init_from must be a run that can be read, got {run}: {error}"
        ) from error
    graph, own = to_params(model)
    found = to_params(other)[1]
    wrong = _differences(own, found)
    more = f" and {len(wrong) - LISTED} more" if len(wrong) > LISTED else ""
    require(
        not wrong,
        f"training.init_from must be a run whose parameters have this model's shapes,"
        f" and {run} has {', '.join(wrong[:LISTED])}{more}; set the model as there, or"
        " choose another run",
    )
    # In the order and of the types of this model.
    params = {name: found[name].astype(x.dtype) for name, x in own.items()}
    return from_params(graph, params)


def _differences(own: Params, found: Params) -> list[str]:
    """What does not fit, by name."""

    def shape(x: jax.Array | None) -> str:
        return "missing" if x is None else str(list(x.shape))

    shapes = {
        name: (shape(found.get(name)), shape(own.get(name)))
        for name in sorted(own.keys() | found.keys())
    }
    return [
        f"{name} {there} (here {here})"
        for name, (there, here) in shapes.items()
        if there != here
    ]
