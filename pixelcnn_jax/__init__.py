"""PixelCNNs in JAX: exact likelihood, exact and fast sampling.

Letters in names say what an axis is: B batch, H rows, W columns, C channels or features
in, D features out, V levels, M mixture components, P parameters of a pixel's
distribution, F the positions of a front, N images of a set.
"""

from pixelcnn_jax.completion import complete
from pixelcnn_jax.compression import compress, decompress
from pixelcnn_jax.config import (
    Config,
    GatedPixelCNNConfig,
    PixelCNNConfig,
    PixelCNNPPConfig,
    PixelSNAILConfig,
    preset,
)
from pixelcnn_jax.data import ImageSet
from pixelcnn_jax.errors import UserError
from pixelcnn_jax.likelihood import bits_per_dim, log_prob, pixel_log_prob
from pixelcnn_jax.models import (
    GatedPixelCNN,
    PixelCNN,
    PixelCNNPP,
    PixelModel,
    PixelSNAIL,
    build_model,
)
from pixelcnn_jax.posterior import class_log_posterior
from pixelcnn_jax.runs import load, save
from pixelcnn_jax.sampling import Sampler, sample
from pixelcnn_jax.stepper import Stepper
from pixelcnn_jax.training import Fit, fit, train

__version__ = "0.2.0"

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
    "PixelSNAIL",
    "PixelSNAILConfig",
    "Sampler",
    "Stepper",
    "UserError",
    "bits_per_dim",
    "build_model",
    "class_log_posterior",
    "complete",
    "compress",
    "decompress",
    "fit",
    "load",
    "log_prob",
    "pixel_log_prob",
    "preset",
    "sample",
    "save",
    "train",
]
