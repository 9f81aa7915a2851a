"""Named settings of whole runs."""

import difflib
from dataclasses import replace

from pixelcnn_jax.config.models import (
    GatedPixelCNNConfig,
    PixelCNNConfig,
    PixelCNNPPConfig,
    PixelSNAILConfig,
)
from pixelcnn_jax.config.settings import Config, DataConfig, TrainingConfig
from pixelcnn_jax.errors import UserError

DIGITS_TRAINING = TrainingConfig(
    epochs=80,
    batch_size=32,
    learning_rate=2e-3,
    schedule="cosine",
    ema_decay=0.995,
)

AUTHORS_TRAINING = TrainingConfig(
    learning_rate=1e-3, beta1=0.95, beta2=0.9995, ema_decay=0.9995
)
"""What the authors of PixelCNN++ train with, and those of PixelSNAIL after them."""

GATED_TRAINING = TrainingConfig(
    epochs=60,
    learning_rate=1e-3,
    schedule="cosine",
    warmup_steps=500,
    clip_norm=1.0,
    ema_decay=0.999,
)

PRESETS: dict[str, tuple[str, Config]] = {
    "digits": (
        "8x8 handwritten digits of scikit-learn at 16x16, 4 levels: nothing to"
        " download, minutes on a laptop",
        Config(
            workdir="runs/digits",
            model=PixelCNNConfig(features=64, kernel_size=5, dropout=0.2),
            training=DIGITS_TRAINING,
        ),
    ),
    "fashion-mnist": (
        "the book's experiment: Fashion-MNIST at 16x16, 4 levels, 150 epochs",
        Config(
            workdir="runs/fashion-mnist",
            data=DataConfig(source="fashion_mnist", validation_images=1000),
        ),
    ),
    "mnist": (
        "MNIST with the book's network and settings",
        Config(
            workdir="runs/mnist",
            data=DataConfig(source="mnist", validation_images=1000),
        ),
    ),
    "digits-gated": (
        "the digits by class, with a Gated PixelCNN: nothing to download, minutes on a"
        " laptop",
        Config(
            workdir="runs/digits-gated",
            model=GatedPixelCNNConfig(num_classes=10, dropout=0.2),
            training=replace(DIGITS_TRAINING, epochs=50, warmup_steps=100),
        ),
    ),
    "digits-pp": (
        "the digits with a small PixelCNN++: nothing to download, minutes on a laptop",
        Config(
            workdir="runs/digits-pp",
            model=PixelCNNPPConfig(
                height=16,
                width=16,
                channels=1,
                levels=4,
                distribution="categorical",
                filters=24,
                num_resnets=1,
                resolutions=2,
                dropout=0.2,
            ),
            training=replace(DIGITS_TRAINING, epochs=60),
        ),
    ),
    "digits-snail": (
        "the digits with a small PixelSNAIL: nothing to download, minutes on a laptop",
        Config(
            workdir="runs/digits-snail",
            model=PixelSNAILConfig(
                height=16,
                width=16,
                channels=1,
                levels=4,
                distribution="categorical",
                filters=32,
                num_blocks=3,
                num_resnets=2,
                dropout=0.2,
            ),
            training=replace(DIGITS_TRAINING, epochs=60),
        ),
    ),
    "fashion-mnist-16": (
        "Fashion-MNIST by class at 16x16, 4 levels, with a Gated PixelCNN: the best in"
        " little time",
        Config(
            workdir="runs/fashion-mnist-16",
            model=GatedPixelCNNConfig(
                height=16,
                width=16,
                levels=4,
                num_classes=10,
                features=32,
                num_layers=12,
                head_features=64,
                dropout=0.0,
            ),
            data=DataConfig(source="fashion_mnist", validation_images=1000),
            training=TrainingConfig(
                epochs=13,
                batch_size=64,
                learning_rate=3e-3,
                schedule="cosine",
                warmup_steps=200,
            ),
        ),
    ),
    "fashion-mnist-gated": (
        "Fashion-MNIST by class at 28x28, 256 levels, with a Gated PixelCNN",
        Config(
            workdir="runs/fashion-mnist-gated",
            model=GatedPixelCNNConfig(
                height=28,
                width=28,
                levels=256,
                num_classes=10,
                features=64,
                num_layers=14,
                head_features=128,
                dropout=0.1,
            ),
            data=DataConfig(source="fashion_mnist", validation_images=5000),
            training=GATED_TRAINING,
        ),
    ),
    "mnist-binary": (
        "MNIST at 28x28, dynamically binarised, with a Gated PixelCNN: the published"
        " yardstick, nats per image",
        Config(
            workdir="runs/mnist-binary",
            model=GatedPixelCNNConfig(
                height=28,
                width=28,
                levels=2,
                features=64,
                num_layers=14,
                head_features=64,
                dropout=0.1,
            ),
            data=DataConfig(
                source="mnist", validation_images=5000, quantization="dynamic"
            ),
            training=replace(GATED_TRAINING, epochs=100),
        ),
    ),
    "cifar10": (
        "CIFAR-10 in colour, 256 levels, with a Gated PixelCNN and a mixture of"
        " logistics; for a GPU",
        Config(
            workdir="runs/cifar10",
            model=GatedPixelCNNConfig(
                height=32,
                width=32,
                channels=3,
                levels=256,
                features=128,
                num_layers=18,
                head_features=256,
                distribution="logistic_mixture",
                dropout=0.3,
            ),
            data=DataConfig(source="cifar10", validation_images=5000),
            training=replace(
                GATED_TRAINING,
                epochs=200,
                batch_size=64,
                learning_rate=4e-4,
                warmup_steps=1000,
                ema_decay=0.9995,
            ),
        ),
    ),
    "fashion-mnist-pp": (
        "the book's next section: Fashion-MNIST at 32x32, 256 levels, with a small"
        " PixelCNN++",
        Config(
            workdir="runs/fashion-mnist-pp",
            model=PixelCNNPPConfig(
                channels=1,
                filters=32,
                num_resnets=1,
                resolutions=2,
                num_mixtures=5,
                dropout=0.3,
            ),
            data=DataConfig(source="fashion_mnist", validation_images=5000),
            training=TrainingConfig(epochs=10, learning_rate=1e-3),
        ),
    ),
    "cifar10-pp": (
        "CIFAR-10 with PixelCNN++ as in the paper; for GPUs, for days",
        Config(
            workdir="runs/cifar10-pp",
            model=PixelCNNPPConfig(filters=192, dropout=0.5),
            data=DataConfig(source="cifar10", validation_images=5000),
            training=replace(
                AUTHORS_TRAINING, epochs=5000, learning_rate_decay=0.999995
            ),
        ),
    ),
    "cifar10-snail": (
        "CIFAR-10 with PixelSNAIL as in the authors' code; for GPUs, for days",
        Config(
            workdir="runs/cifar10-snail",
            model=PixelSNAILConfig(dropout=0.5),
            data=DataConfig(source="cifar10", validation_images=5000),
            training=replace(
                AUTHORS_TRAINING, epochs=1000, learning_rate_decay=0.999998
            ),
        ),
    ),
}
"""What each preset is for, and its settings."""


def preset(name: str) -> Config:
    """The settings of a preset.

    Raises:
        UserError: there is no such preset.
    """
    if not isinstance(name, str) or name not in PRESETS:
        close = difflib.get_close_matches(str(name), PRESETS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(
            f"the preset must be one of {', '.join(PRESETS)}, got {name}{hint}"
        )
    return PRESETS[name][1]
