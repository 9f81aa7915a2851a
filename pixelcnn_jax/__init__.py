"""PixelCNNs in JAX: exact likelihood, exact and fast sampling.

Letters in names say what an axis is: B batch, H rows, W columns, C channels or features
in, D features out, V levels, M mixture components, P parameters of a pixel's
distribution, F the positions of a front, N images of a set.
"""

from pixelcnn_jax.checkpoints import load
from pixelcnn_jax.config import (
    Config,
    GatedPixelCNNConfig,
    PixelCNNConfig,
    preset,
)
from pixelcnn_jax.errors import UserError
from pixelcnn_jax.likelihood import bits_per_dim, log_prob
from pixelcnn_jax.models import GatedPixelCNN, PixelCNN, build_model
from pixelcnn_jax.sampling import sample
from pixelcnn_jax.training import train

__version__ = "0.1.0"

__all__ = [
    "Config",
    "GatedPixelCNN",
    "GatedPixelCNNConfig",
    "PixelCNN",
    "PixelCNNConfig",
    "UserError",
    "bits_per_dim",
    "build_model",
    "load",
    "log_prob",
    "preset",
    "sample",
    "train",
]
