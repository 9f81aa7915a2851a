"""Training: the compiled update, its feeds, the loop, the reports."""

from pixelcnn_jax.training.fit import fit, train
from pixelcnn_jax.training.loop import Fit
from pixelcnn_jax.training.trainer import Trainer
from pixelcnn_jax.training.update import TrainState

__all__ = ["Fit", "TrainState", "Trainer", "fit", "train"]
