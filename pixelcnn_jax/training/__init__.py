"""Training: the compiled update, the run's folder, the loop."""

from pixelcnn_jax.training.loop import train
from pixelcnn_jax.training.steps import Trainer, TrainState

__all__ = ["TrainState", "Trainer", "train"]
