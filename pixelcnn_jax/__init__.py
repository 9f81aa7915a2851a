"""PixelCNNs in JAX: exact likelihood, exact and fast sampling.

Letters in names say what an axis is: B batch, H rows, W columns, C channels or features
in, D features out, V levels, M mixture components, P parameters of a pixel's
distribution, F the positions of a front, N images of a set.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from pixelcnn_jax.anomaly import AnomalyScores, anomaly_scores, auroc
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
    from pixelcnn_jax.data import BatchIterator, BatchSource, ImageSet
    from pixelcnn_jax.entropy import entropy_map
    from pixelcnn_jax.errors import UserError
    from pixelcnn_jax.exported import ExportedSampler, load_sampler
    from pixelcnn_jax.exporting import export_sampler
    from pixelcnn_jax.likelihood import bits_per_dim, log_prob, pixel_log_prob
    from pixelcnn_jax.machine import IdleCoresWarning, use_all_cores
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
    from pixelcnn_jax.streaming import stream
    from pixelcnn_jax.training import Fit, fit, train
    from pixelcnn_jax.visits import visit_steps

__all__ = [
    "AnomalyScores",
    "BatchIterator",
    "BatchSource",
    "Config",
    "ExportedSampler",
    "Fit",
    "GatedPixelCNN",
    "GatedPixelCNNConfig",
    "IdleCoresWarning",
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
    "anomaly_scores",
    "auroc",
    "bits_per_dim",
    "build_model",
    "class_log_posterior",
    "complete",
    "compress",
    "decompress",
    "entropy_map",
    "export_sampler",
    "fit",
    "load",
    "load_sampler",
    "log_prob",
    "pixel_log_prob",
    "preset",
    "sample",
    "save",
    "stream",
    "train",
    "use_all_cores",
    "visit_steps",
]

_HOMES = {
    "anomaly": ["AnomalyScores", "anomaly_scores", "auroc"],
    "completion": ["complete"],
    "compression": ["compress", "decompress"],
    "config": [
        "Config",
        "GatedPixelCNNConfig",
        "PixelCNNConfig",
        "PixelCNNPPConfig",
        "PixelSNAILConfig",
        "preset",
    ],
    "data": ["BatchIterator", "BatchSource", "ImageSet"],
    "entropy": ["entropy_map"],
    "errors": ["UserError"],
    "exported": ["ExportedSampler", "load_sampler"],
    "exporting": ["export_sampler"],
    "likelihood": ["bits_per_dim", "log_prob", "pixel_log_prob"],
    "machine": ["IdleCoresWarning", "use_all_cores"],
    "models": [
        "GatedPixelCNN",
        "PixelCNN",
        "PixelCNNPP",
        "PixelModel",
        "PixelSNAIL",
        "build_model",
    ],
    "posterior": ["class_log_posterior"],
    "runs": ["load", "save"],
    "sampling": ["Sampler", "sample"],
    "stepper": ["Stepper"],
    "streaming": ["stream"],
    "training": ["Fit", "fit", "train"],
    "visits": ["visit_steps"],
}
"""Where each public name is from.

They are imported when first used: who only runs an exported sampler needs neither Flax
nor anything else of what training needs.
"""

if not TYPE_CHECKING:  # else checkers would take any name for a public one

    def __getattr__(name: str) -> object:
        if name in _HOMES:
            return importlib.import_module(f"{__name__}.{name}")
        for home, names in _HOMES.items():
            if name in names:
                found = getattr(importlib.import_module(f"{__name__}.{home}"), name)
                return globals().setdefault(name, found)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
