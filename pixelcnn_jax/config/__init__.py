"""All settings of a run, as frozen dataclasses, presets, and their form on disk.

Every default of the package stands here. A preset is a named `Config`.
"""

from pixelcnn_jax.config.models import (
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
from pixelcnn_jax.config.settings import ARRAYS, Config, DataConfig, TrainingConfig

__all__ = [
    "ARRAYS",
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
