"""All settings of a run, as frozen dataclasses, and their form on disk.

Every default of the package stands here. A preset is a named `Config`.
"""

import dataclasses
import difflib
import json
from typing import Any, Literal

from pixelcnn_jax.errors import UserError, require

FORMAT = 1
"""Version of ``config.json``; a reader refuses versions that it does not know."""


def _require_at_least(group: str, config: Any, field: str, least: int) -> None:
    value = getattr(config, field)
    require(
        value >= least,
        f"{group}.{field} must be at least {least}, got {value}; try {least}",
    )


@dataclasses.dataclass(frozen=True)
class PixelCNNConfig:
    """The book's PixelCNN; the defaults are its network."""

    height: int = 16
    """Rows of an image. Data of another size are resized."""
    width: int = 16
    """Columns of an image."""
    channels: int = 1
    """Channels of a pixel: 1 grey, 3 colour."""
    levels: int = 4
    """Values that a channel can take; data with more are quantised."""
    features: int = 128
    """Width of the network; the residual blocks work at half of it."""
    num_blocks: int = 5
    """Residual blocks. Each widens what the network can see by kernel_size // 2."""
    first_kernel_size: int = 7
    """Side of the first layer's kernel (type A), odd."""
    kernel_size: int = 3
    """Side of the kernels in the residual blocks (type B), odd."""

    def __post_init__(self):
        for field in ("height", "width", "channels"):
            _require_at_least("model", self, field, 1)
        _require_at_least("model", self, "levels", 2)
        _require_at_least("model", self, "num_blocks", 0)
        for field in ("first_kernel_size", "kernel_size"):
            value = getattr(self, field)
            require(
                value >= 1 and value % 2 == 1,
                f"model.{field} must be odd and at least 1, got {value};"
                f" try {max(1, value + 1)}",
            )
        unit = 2 * self.channels
        nearest = max(1, round(self.features / unit)) * unit
        require(
            self.features >= 1 and self.features % unit == 0,
            f"model.features must be a positive multiple of {unit} (twice the"
            f" channels), got {self.features}; the nearest valid value is {nearest}",
        )

    @classmethod
    def tiny(cls, **overrides: Any) -> "PixelCNNConfig":
        """A network of a few hundred weights, for tests and first tries."""
        small = {"height": 6, "width": 5, "features": 8, "num_blocks": 2}
        return cls(**{**small, "first_kernel_size": 5, **overrides})


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the images come from."""

    source: str = "digits"
    """"digits" (ships with scikit-learn) or any image set of the TensorFlow Datasets
    catalogue: fashion_mnist, mnist, kmnist, cifar10, ..."""
    data_dir: str | None = None
    """A folder with the four original files of an MNIST-like set, or a TensorFlow
    Datasets folder. None: ~/tensorflow_datasets, downloading what is missing."""
    validation_images: int = 200
    """Images split off the training set, for the figures of each epoch and the choice
    of the best checkpoint. The test set is never used for either."""

    def __post_init__(self):
        _require_at_least("data", self, "validation_images", 0)


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How the weights are found. The defaults are the book's."""

    epochs: int = 150
    """Passes over the training images. The one training field that may be changed, and
    only upwards, when a run is taken up again."""
    batch_size: int = 128
    """Images per update."""
    learning_rate: float = 5e-4
    """Adam's step size, at its highest."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate goes: constant, or down to zero over all updates along half
    a cosine."""
    microbatch_size: int | None = None
    """Images whose gradients are computed at once; the gradients of a batch are summed
    over its microbatches. None: 16 on a CPU (activations stay in its cache), the whole
    batch elsewhere."""

    def __post_init__(self):
        _require_at_least("training", self, "epochs", 1)
        _require_at_least("training", self, "batch_size", 1)
        require(
            0 < self.learning_rate < float("inf"),
            f"training.learning_rate must be positive, got {self.learning_rate};"
            " try 0.0005",
        )
        require(
            self.schedule in ("constant", "cosine"),
            f"training.schedule must be constant or cosine, got {self.schedule!r}",
        )
        if self.microbatch_size is not None:
            _require_at_least("training", self, "microbatch_size", 1)


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run."""

    seed: int = 0
    """Of the first weights, the order of the images, the samples drawn on the way."""
    workdir: str = "runs/digits"
    """The run's folder: settings, checkpoints, figures, pictures."""
    model: PixelCNNConfig = PixelCNNConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()


PRESETS: dict[str, tuple[str, Config]] = {
    "digits": (
        "8x8 handwritten digits of scikit-learn at 16x16, 4 levels: nothing to"
        " download, minutes on a laptop",
        Config(
            workdir="runs/digits",
            model=PixelCNNConfig(features=64, kernel_size=5),
            training=TrainingConfig(
                epochs=50, batch_size=32, learning_rate=2e-3, schedule="cosine"
            ),
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
}
"""What each preset is for, and its settings."""

MODEL_KINDS: dict[str, type] = {"pixelcnn": PixelCNNConfig}
"""The name of each model on disk, and its config."""


def to_json(config: Config) -> str:
    """The text of ``config.json``."""
    kinds = {config_type: kind for kind, config_type in MODEL_KINDS.items()}
    fields = dataclasses.asdict(config)
    fields["model"] = {"kind": kinds[type(config.model)], **fields["model"]}
    return json.dumps({"format": FORMAT, **fields}, indent=2) + "\n"


def from_json(text: str) -> Config:
    """The config whose `to_json` is ``text``.

    Raises:
        UserError: the text is no such config, or of a later version of the package.
    """
    try:
        fields = json.loads(text)
        version = fields.pop("format")
        require(
            version == FORMAT,
            f"config.json must have format {FORMAT}, got {version!r};"
            " a newer pixelcnn_jax may read it",
        )
        model = fields.pop("model")
        return Config(
            model=MODEL_KINDS[model.pop("kind")](**model),
            data=DataConfig(**fields.pop("data")),
            training=TrainingConfig(**fields.pop("training")),
            **fields,
        )
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(
            f"config.json must be a run's settings as train.py writes them, got"
            f" {error!r}; restore the file or start the run anew"
        ) from error


def flatten(config: Config) -> dict[str, Any]:
    """Every field under the name that its flag has, such as ``training.epochs``."""
    flat = {}
    for name, value in dataclasses.asdict(config).items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": item for key, item in value.items()}
        else:
            flat[name] = value
    return flat


def preset(name: str) -> Config:
    """The settings of a preset.

    Raises:
        UserError: there is no such preset.
    """
    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(
            f"the preset must be one of {', '.join(PRESETS)}, got {name}{hint}"
        )
    return PRESETS[name][1]
