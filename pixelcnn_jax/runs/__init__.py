"""A run is a folder: settings, checkpoints, tables, pictures, lock."""

from pixelcnn_jax.runs.checkpoints import Which
from pixelcnn_jax.runs.run import Run, load, shipped_models
from pixelcnn_jax.runs.saving import model_folder, save, write_model, written_to
from pixelcnn_jax.runs.storage import Items
from pixelcnn_jax.runs.tables import Row

__all__ = [
    "Items",
    "Row",
    "Run",
    "Which",
    "load",
    "model_folder",
    "save",
    "shipped_models",
    "write_model",
    "written_to",
]
