"""PixelCNNs in JAX: exact likelihood, exact and fast sampling.

Letters in names say what an axis is: B batch, H rows, W columns, C channels or features
in, D features out, V levels, M mixture components, P parameters of a pixel's
distribution, F the positions of a front, N images of a set.
"""

from pixelcnn_jax.config import (
    Config,
    GatedPixelCNNConfig,
    PixelCNNConfig,
    PixelCNNPPConfig,
    preset,
)
from pixelcnn_jax.data import ImageSet
from pixelcnn_jax.errors import UserError
from pixelcnn_jax.likelihood import bits_per_dim, log_prob
from pixelcnn_jax.models import (
    GatedPixelCNN,
    PixelCNN,
    PixelCNNPP,
    PixelModel,
    build_model,
)
from pixelcnn_jax.runs import load
from pixelcnn_jax.sampling import Sampler, sample
from pixelcnn_jax.training import Fit, fit, train

__version__ = "0.1.0"

__all__ = [
    "Config",
    "Fit",
    "GatedPixelCNN",
    "GatedPixelCNNConfig",
    "ImageSet",
    "PixelCNN",
    "PixelCNNConfig",
    "PixelCNNPP",
    "PixelCNNPPConfig",
    "PixelModel",
    "Sampler",
    "UserError",
    "bits_per_dim",
    "build_model",
    "fit",
    "load",
    "log_prob",
    "preset",
    "sample",
    "train",
]
