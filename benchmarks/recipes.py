"""What the quality benchmark trains: studies, each of a few recipes on the same images.

A recipe is a whole `pj.Config`; its number of epochs follows from the minutes. Within a
study all networks are of the size that minutes on two cores can train.
"""

from dataclasses import replace
from typing import Any

import pixelcnn_jax as pj
from pixelcnn_jax.config import DataConfig, TrainingConfig
from pixelcnn_jax.config.models import AnyModelConfig

BOOK = TrainingConfig()
"""As the book trains: a constant rate, no average of the weights."""
COSINE = TrainingConfig(
    batch_size=64, learning_rate=3e-3, schedule="cosine", warmup_steps=200
)
AVERAGED = replace(
    COSINE, batch_size=128, learning_rate=1e-3, ema_decay=0.99, clip_norm=1.0
)
"""Cosine, and a mean of the weights."""

SMALL: dict[str, Any] = dict(height=16, width=16, levels=4, dropout=0.0)
"""16x16 pixels of 4 levels. So few minutes don't overfit 60,000 images: no dropout."""
GREY: dict[str, Any] = dict(channels=1, distribution="categorical")
GATED: dict[str, Any] = dict(features=32, num_layers=12, head_features=64)
PP: dict[str, Any] = dict(filters=24, num_resnets=1, resolutions=2)
SNAIL: dict[str, Any] = dict(filters=32, num_blocks=3, num_resnets=2)

FASHION = DataConfig(source="fashion_mnist", validation_images=1000)


def _fashion(model: AnyModelConfig, training: TrainingConfig) -> pj.Config:
    return pj.Config(model=model, data=FASHION, training=training)


def _cifar(model: AnyModelConfig, training: TrainingConfig) -> pj.Config:
    source = DataConfig(source="cifar10", validation_images=1000)
    return pj.Config(model=model, data=source, training=training)


STUDIES: dict[str, dict[str, pj.Config]] = {
    "digits": {
        "book": pj.preset("digits"),
        "gated": replace(
            pj.preset("digits-gated"),
            model=replace(pj.GatedPixelCNNConfig(**SMALL), dropout=0.2),
        ),
        "gated by class": pj.preset("digits-gated"),
        "pp": pj.preset("digits-pp"),
        "snail": pj.preset("digits-snail"),
    },
    "fashion-16": {
        "book": _fashion(pj.PixelCNNConfig(**SMALL), BOOK),
        "book, EMA, cosine": _fashion(pj.PixelCNNConfig(**SMALL), AVERAGED),
        "gated": _fashion(pj.GatedPixelCNNConfig(**SMALL, **GATED), COSINE),
        "gated by class": _fashion(
            pj.GatedPixelCNNConfig(**SMALL, **GATED, num_classes=10), COSINE
        ),
        "pp": _fashion(pj.PixelCNNPPConfig(**SMALL, **GREY, **PP), COSINE),
        "snail": _fashion(
            pj.PixelSNAILConfig(**SMALL, **GREY, **SNAIL),
            replace(COSINE, learning_rate=2e-3),
        ),
    },
    "cifar10": {
        "pp": _cifar(
            pj.PixelCNNPPConfig(filters=64, num_resnets=2, dropout=0.0),
            replace(COSINE, batch_size=32, learning_rate=1e-3),
        ),
        "gated": _cifar(
            pj.GatedPixelCNNConfig(
                height=32,
                width=32,
                channels=3,
                levels=256,
                features=64,
                num_layers=12,
                head_features=128,
                distribution="logistic_mixture",
                dropout=0.0,
            ),
            replace(COSINE, batch_size=32, learning_rate=1e-3),
        ),
    },
    "mnist-binary": {"gated": pj.preset("mnist-binary")},
    "mnist-threshold": {
        "gated": pj.Config(
            model=pj.GatedPixelCNNConfig(
                height=28, width=28, levels=2, dropout=0.0, **GATED
            ),
            data=DataConfig(source="mnist", validation_images=1000, threshold=0.33),
            training=COSINE,
        ),
    },
    "mnist-256": {
        "gated": pj.Config(
            model=pj.GatedPixelCNNConfig(
                height=28,
                width=28,
                levels=256,
                features=48,
                num_layers=12,
                head_features=64,
                dropout=0.0,
            ),
            data=DataConfig(source="mnist", validation_images=1000),
            training=COSINE,
        ),
    },
}
"""Recipes by study and name."""
