"""The settings of each model."""

import dataclasses
from typing import Any, ClassVar, Literal, Self

from pixelcnn_jax.arrays import LONGEST_SIDE
from pixelcnn_jax.config.checks import (
    FROM_DATA,
    LARGEST_KERNEL,
    MOST,
    MOST_GROUPS,
    MOST_LAYERS,
    WIDEST,
    require_at_least,
    require_from_data_or,
    require_share,
    settle,
)
from pixelcnn_jax.errors import require

MOST_CHANNELS = 1024
MOST_LEVELS = 2**16
"""Quantised data hold at most 16 bits per value."""

FIELDS_OF_DATA = {
    "height": (1, LONGEST_SIDE),
    "width": (1, LONGEST_SIDE),
    "channels": (1, MOST_CHANNELS),
    "levels": (2, MOST_LEVELS),
    "num_classes": (0, MOST),
    "condition_features": (0, MOST),
    "condition_channels": (0, MOST),
    "condition_levels": (0, MOST),
}
"""The settings of a model that its data tell, and the bounds of each."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What every model of the family has; use one of its subclasses.

    Sizes, levels, classes and conditions may be -1 in a run on your own images: they
    are then taken from them.
    """

    kind: ClassVar[str]
    """Its name on disk."""

    height: int = 16
    """Rows of an image. Data of another size are resized."""
    width: int = 16
    """Columns of an image."""
    channels: int = 1
    """Channels of a pixel: 1 grey, 3 colour."""
    levels: int = 4
    """Values that a channel can take; data with more are quantised."""
    num_classes: int = 0
    """Classes that the model is conditioned on; 0: it knows none."""
    distribution: Literal["categorical", "logistic_mixture"] = "categorical"
    """The network's output distribution for a pixel: a softmax over the levels of each
    channel, or a mixture of discretized logistics (PixelCNN++), which suits 256
    levels."""
    num_mixtures: int = 10
    """Components of the mixture; a softmax has none."""
    dropout: float = 0.0
    """Share of hidden features that training sets to zero, against overfitting."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number type of activations and products. Parameters and logits stay float32;
    bfloat16 is faster on accelerators and on CPUs with AMX."""
    # By keyword only, so that the subclasses' own fields keep their places.
    _: dataclasses.KW_ONLY
    condition_features: int = 0
    """Numbers of the vector that each image is conditioned on; 0: there is none."""
    condition_channels: int = 0
    """Channels of the map that each image is conditioned on, such as a coarser image or
    its codes; 0: there is none."""
    condition_levels: int = 0
    """Values that the map's channels can take if they are integers; 0: they are
    floats."""
    condition_width: int = 32
    """Features that a small network reads the map as, once per image."""
    condition_dropout: float = 0.0
    """Share of the images that an update shows without any of their conditions, classes
    included: the model can then be used without them, and guided. 0: it needs them."""
    pixel_input: Literal["value", "embedding"] = "value"
    """What the network reads of a channel: a number that grows with its level, or a
    learned vector for each level, for codes, whose order means nothing."""
    embedding_features: int = 16
    """Width of those vectors; values have none."""

    def __post_init__(self):
        settle("model", self)
        for field, bounds in FIELDS_OF_DATA.items():
            require_from_data_or("model", self, field, *bounds)
        require_at_least("model", self, "num_mixtures", 1, MOST_CHANNELS)
        require_share("model", self, "dropout", 0)
        require_at_least("model", self, "embedding_features", 1, WIDEST)
        self._check_conditions()

    @property
    def ordered_channels(self) -> int:
        """Channels whose order the masks carry: 1 if the distribution carries it."""
        return self._ordered(self.channels)

    def _ordered(self, channels: int) -> int:
        # Of unknown channels, the rule for one: the least that will be asked for.
        return max(1, channels) if self.distribution == "categorical" else 1

    def _units(self, ordered: int) -> dict[str, int]:
        """The widths that must be multiples of something, and of what."""
        return {}

    def with_data(self, **found: int) -> Self:
        """The config with what the data tell. If that is their channels, widths become
        the next multiples that these need."""
        widths = {}
        if "channels" in found:
            units = self._units(self._ordered(found["channels"]))
            for name, unit in units.items():
                widths[name] = -(-getattr(self, name) // unit) * unit
        return dataclasses.replace(self, **found, **widths)

    @property
    def input_features(self) -> int:
        """Numbers that the network reads of a pixel."""
        is_value = self.pixel_input == "value"
        return self.channels * (1 if is_value else self.embedding_features)

    @property
    def unknown(self) -> list[str]:
        """The fields that are still to be taken from the data."""
        return [name for name in FIELDS_OF_DATA if getattr(self, name) == FROM_DATA]

    def without_classes(self) -> Self:
        """The same for images whose classes are not to be looked at."""
        return dataclasses.replace(self, num_classes=0, condition_dropout=0.0)

    @property
    def idle(self) -> dict[str, str]:
        """The fields that change nothing beside the others, and what each needs."""
        idle: dict[str, str] = {}
        if self.distribution != "logistic_mixture":
            idle["num_mixtures"] = "model.distribution logistic_mixture"
        if self.pixel_input != "embedding":
            idle["embedding_features"] = "model.pixel_input embedding"
        if self.condition_channels == 0:
            idle["condition_width"] = "model.condition_channels above 0"
        return idle

    def _check_conditions(self) -> None:
        require_at_least("model", self, "condition_width", 1)
        require_share("model", self, "condition_dropout", 0.1)
        require(
            self.condition_dropout == 0
            or self.num_classes != 0
            or self.condition_features != 0
            or self.condition_channels != 0,
            "model.condition_dropout needs a model with conditions, got"
            f" {self.condition_dropout} for one without; set it to 0",
        )
        require(
            self.condition_levels in (0, FROM_DATA) or self.condition_channels != 0,
            "model.condition_levels are those of a map, and model.condition_channels"
            f" is 0, got {self.condition_levels}; set model.condition_channels",
        )

    def _require_odd(self, field: str, least: int = 1) -> None:
        value = getattr(self, field)
        require(
            value >= least and value % 2 == 1,
            f"model.{field} must be odd and at least {least}, got {value};"
            f" try {max(least, value + 1)}",
        )
        require_at_least("model", self, field, least, LARGEST_KERNEL)

    def _require_multiples(self) -> None:
        for field, unit in self._units(self.ordered_channels).items():
            self._require_multiple(field, unit)

    def _require_multiple(self, field: str, unit: int) -> None:
        value = getattr(self, field)
        nearest = max(1, round(value / unit)) * unit
        require(
            value >= 1 and value % unit == 0,
            f"model.{field} must be a positive multiple of {unit}, got {value};"
            f" the nearest valid value is {nearest}",
        )
        require_at_least("model", self, field, unit, WIDEST)


@dataclasses.dataclass(frozen=True)
class PixelCNNConfig(ModelConfig):
    """The book's PixelCNN; the defaults are its network."""

    kind: ClassVar[str] = "pixelcnn"

    features: int = 128
    """Width of the network; the residual blocks work at half of it."""
    num_blocks: int = 5
    """Residual blocks. Each widens what the network can see by kernel_size // 2."""
    first_kernel_size: int = 7
    """Side of the first layer's kernel (type A), odd, at least 3."""
    kernel_size: int = 3
    """Side of the kernels in the residual blocks (type B), odd."""

    def __post_init__(self):
        super().__post_init__()
        require_at_least("model", self, "num_blocks", 0, MOST_LAYERS)
        self._require_odd("first_kernel_size", 3)
        self._require_odd("kernel_size")
        self._require_multiples()

    def _units(self, ordered: int) -> dict[str, int]:
        return {"features": 2 * ordered}

    @classmethod
    def tiny(cls, **overrides: Any) -> "PixelCNNConfig":
        """A network of a few hundred weights, for tests and first tries."""
        small = {"height": 6, "width": 5, "features": 8, "num_blocks": 2}
        return cls(**{**small, "first_kernel_size": 5, **overrides})


@dataclasses.dataclass(frozen=True)
class GatedPixelCNNConfig(ModelConfig):
    """The Gated PixelCNN: two stacks, no blind spot."""

    kind: ClassVar[str] = "gated_pixelcnn"

    features: int = 32
    """Width of each of the two stacks."""
    num_layers: int = 13
    """Gated layers after the first. Each widens what the network can see by
    kernel_size // 2; 13 leave nothing unseen at 16x16."""
    first_kernel_size: int = 7
    """Side of the first layer's kernels (type A), odd, at least 3."""
    kernel_size: int = 3
    """Side of the kernels of the other layers (type B), odd."""
    head_features: int = 64
    """Width of the layer between the sum of the skip connections and the logits."""

    def __post_init__(self):
        super().__post_init__()
        require_at_least("model", self, "num_layers", 0, MOST_LAYERS)
        self._require_odd("first_kernel_size", 3)
        self._require_odd("kernel_size")
        self._require_multiples()

    def _units(self, ordered: int) -> dict[str, int]:
        return dict.fromkeys(("features", "head_features"), ordered)

    @classmethod
    def tiny(cls, **overrides: Any) -> "GatedPixelCNNConfig":
        """A network of a few hundred weights, for tests and first tries."""
        small = {"height": 6, "width": 5, "features": 6, "num_layers": 2}
        return cls(**{**small, "first_kernel_size": 5, "head_features": 6, **overrides})


@dataclasses.dataclass(frozen=True)
class ShiftedConfig(ModelConfig):
    """What models of shifted convolutions share: no mask keeps the order of channels.

    The defaults are for colour at 32x32, as in the papers.
    """

    height: int = 32
    """Rows of an image. Data of another size are resized."""
    width: int = 32
    """Columns of an image."""
    channels: int = 3
    """Channels of a pixel: 1 grey, 3 colour."""
    levels: int = 256
    """Values that a channel can take; data with more are quantised."""
    distribution: Literal["categorical", "logistic_mixture"] = "logistic_mixture"
    """The network's output distribution: a mixture of discretized logistics, or a
    softmax over the levels, which this architecture only has for one channel."""

    def __post_init__(self):
        super().__post_init__()
        require(
            self.ordered_channels == 1,
            "model.distribution categorical needs masks that keep the order of the"
            f" channels, which {self.kind} has not, got model.channels {self.channels};"
            " try model.distribution logistic_mixture",
        )


@dataclasses.dataclass(frozen=True)
class PixelCNNPPConfig(ShiftedConfig):
    """PixelCNN++: two streams through several resolutions.

    The defaults are those of the authors' code, but for the dropout of 0.5 there.
    """

    kind: ClassVar[str] = "pixelcnn_pp"

    filters: int = 160
    """Width of both streams."""
    num_resnets: int = 5
    """Pairs of gated residual blocks per resolution, on the way down and on the way
    up."""
    resolutions: int = 3
    """Grids on which the network works, each of half the rows and columns of the one
    before."""

    def __post_init__(self):
        super().__post_init__()
        require_at_least("model", self, "filters", 1, WIDEST)
        require_at_least("model", self, "num_resnets", 1, MOST_GROUPS)
        # With one more the coarsest grid of the largest image would be one pixel.
        require_at_least("model", self, "resolutions", 1, 15)

    @classmethod
    def tiny(cls, **overrides: Any) -> "PixelCNNPPConfig":
        """A network of a few thousand weights, for tests and first tries."""
        small = {"height": 6, "width": 5, "channels": 1, "levels": 4, "filters": 4}
        small |= {"num_resnets": 1, "resolutions": 2, "distribution": "categorical"}
        return cls(**{**small, **overrides})


@dataclasses.dataclass(frozen=True)
class PixelSNAILConfig(ShiftedConfig):
    """PixelSNAIL: residual blocks and attention to all earlier pixels.

    The defaults are those of the authors' code, but for the dropout of 0.5 there.
    """

    kind: ClassVar[str] = "pixelsnail"

    filters: int = 256
    """Width of the network; what attention brings is half as wide."""
    num_blocks: int = 12
    """Blocks, each with an attention. Its memory grows with the image."""
    num_resnets: int = 4
    """Gated residual blocks before each attention."""
    key_features: int = 16
    """Features of keys and queries, per head."""
    num_heads: int = 1
    """Attentions side by side; they share the filters // 2 features of the values."""
    skips: bool = False
    """Whether the output reads every block directly, not the last one only."""

    def __post_init__(self):
        super().__post_init__()
        for field in ("num_blocks", "num_resnets"):
            require_at_least("model", self, field, 1, MOST_GROUPS)
        for field in ("key_features", "num_heads"):
            require_at_least("model", self, field, 1, WIDEST)
        self._require_multiples()

    def _units(self, ordered: int) -> dict[str, int]:
        return {"filters": 2 * self.num_heads}

    @classmethod
    def tiny(cls, **overrides: Any) -> "PixelSNAILConfig":
        """A network of a few thousand weights, for tests and first tries."""
        small = {"height": 6, "width": 5, "channels": 1, "levels": 4, "filters": 4}
        small |= {"num_blocks": 1, "num_resnets": 1, "key_features": 3}
        return cls(**{**small, "distribution": "categorical", **overrides})


AnyModelConfig = (
    PixelCNNConfig | GatedPixelCNNConfig | PixelCNNPPConfig | PixelSNAILConfig
)
"""All of them: a new model's config is added here."""
