"""The data-dependent initialisation of weight-normalised models: a step of its own."""

import jax
import numpy as np

from pixelcnn_jax import hosts, keys
from pixelcnn_jax.config import Config
from pixelcnn_jax.data import TRAIN_SEED, ImageSet, batch_order
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.params import Params, from_params, to_params
from pixelcnn_jax.training.feed import conditions_of


def calibrated(model: PixelModel, config: Config, images: ImageSet) -> PixelModel:
    """The model, initialised from the first batch of the first epoch.

    It runs on one device, so the result does not depend on how many there are. Models
    that need none come back as they are.

    Args:
        images: of training, as the model takes them.
    """
    if not model.needs_calibration:
        return model
    size = config.training.batch_size
    # No padding among them: `learn` asks for at least a batch of images.
    first = np.sort(batch_order(config.seed, 0, len(images), size)[0])
    batch = images.choose(first)
    root = keys.for_purpose(keys.root(config.seed), keys.Purpose.INITIALISATION)
    dropout_keys = jax.random.split(root, len(first)) if config.model.dropout else None
    graph, params = to_params(model)

    @jax.jit
    def calibrate(params: Params) -> Params:
        # A model of the trace's own: changed in place, and no tracer stays behind.
        fresh = from_params(graph, params)
        levels = np.asarray(batch.levels(TRAIN_SEED))
        fresh.calibrate(levels, conditions_of(batch), dropout_keys=dropout_keys)
        return to_params(fresh)[1]

    # Processes need not compute the same to the last bit.
    return from_params(graph, hosts.of_first(calibrate(params)))
