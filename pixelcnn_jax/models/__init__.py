"""The networks, and `build_model`, which makes one from its config."""

from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.models.build import build_model
from pixelcnn_jax.models.gated import GatedPixelCNN
from pixelcnn_jax.models.pixelcnn import PixelCNN
from pixelcnn_jax.models.pixelcnn_pp import PixelCNNPP
from pixelcnn_jax.models.pixelsnail import PixelSNAIL

__all__ = [
    "GatedPixelCNN",
    "PixelCNN",
    "PixelCNNPP",
    "PixelModel",
    "PixelSNAIL",
    "build_model",
]
