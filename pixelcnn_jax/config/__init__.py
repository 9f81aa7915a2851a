"""All settings of a run, as frozen dataclasses, presets, and their form on disk.

Every default of the package stands here. A preset is a named `Config`.
"""

from pixelcnn_jax.config.checks import FROM_DATA
from pixelcnn_jax.config.models import (
    FIELDS_OF_DATA,
    AnyModelConfig,
    GatedPixelCNNConfig,
    ModelConfig,
    PixelCNNConfig,
    PixelCNNPPConfig,
    PixelSNAILConfig,
)
from pixelcnn_jax.config.on_disk import (
    digest,
    flatten,
    from_json,
    read_json,
    settings_digest,
    to_json,
)
from pixelcnn_jax.config.presets import PRESETS, preset
from pixelcnn_jax.config.settings import (
    ARRAYS,
    BATCHES,
    IMAGES,
    Config,
    DataConfig,
    TrainingConfig,
)

__all__ = [
    "ARRAYS",
    "BATCHES",
    "FIELDS_OF_DATA",
    "FROM_DATA",
    "IMAGES",
    "PRESETS",
    "AnyModelConfig",
    "Config",
    "DataConfig",
    "GatedPixelCNNConfig",
    "ModelConfig",
    "PixelCNNConfig",
    "PixelCNNPPConfig",
    "PixelSNAILConfig",
    "TrainingConfig",
    "digest",
    "flatten",
    "from_json",
    "preset",
    "read_json",
    "settings_digest",
    "to_json",
]
