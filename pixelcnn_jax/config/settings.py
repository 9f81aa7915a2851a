"""The settings of a run: data, training, all together."""

import dataclasses
from typing import Literal

from pixelcnn_jax.config.checks import (
    FROM_DATA,
    require_at_least,
    require_from_data_or,
    require_share,
    settle,
)
from pixelcnn_jax.config.models import (
    FIELDS_OF_DATA,
    AnyModelConfig,
    PixelCNNConfig,
)
from pixelcnn_jax.errors import require

ARRAYS = "arrays"
"""The `DataConfig.source` of a run whose images were arrays in memory."""

BATCHES = "batches"
"""The `DataConfig.source` of a run whose images came in batches from elsewhere."""

IMAGES = "images"
"""The `DataConfig.source` of your own images, at `DataConfig.path`."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the images come from."""

    source: str = "digits"
    """"digits" (ships with scikit-learn), "images" (your own, at path) or any image set
    of the TensorFlow Datasets catalogue: fashion_mnist, mnist, kmnist, cifar10, ..."""
    data_dir: str | None = None
    """A folder with the four original files of an MNIST-like set, or a TensorFlow
    Datasets folder; digits need none. None: ~/tensorflow_datasets, downloading what is
    missing."""
    validation_images: int = 200
    """Images split off the training set, for the figures of each epoch and the choice
    of the best checkpoint. The test set is never used for either. -1, for your own
    images: a tenth of them. Not used if they come with validation images."""
    quantization: Literal["bins", "dynamic"] = "bins"
    """From pixels to levels: equal bins; or, for 2 levels, a pixel's brightness as the
    probability of level 1, drawn anew each time that training meets the image (dynamic
    binarisation) and once and for all for validation and test."""
    path: str | None = None
    """Your own images: a folder of image files (sub-folders are classes; folders train,
    validation and test are splits), a .npy file of integers [N, H, W] or [N, H, W, C],
    or a .npz file with images and perhaps labels, condition, condition_map, split."""
    fit: Literal["resize", "crop"] = "resize"
    """How your own images come to the size of the model: resized, or their middle cut
    out."""
    threshold: float | None = None
    """For 2 levels: the share of the brightness from which on a pixel is level 1, such
    as 0.33. None: 0.5."""
    values: Literal["auto", "pixels", "codes"] = "auto"
    """What the integers of a .npy or .npz file are: brightness, which may be resized
    and quantised, or codes, which stay as they are. auto: 8 bits are brightness, others
    codes."""
    classes: tuple[str, ...] = ()
    """The names of a folder's sub-folders in the order of their labels. Found when the
    training begins, so that another folder is labelled alike, also if it has only some
    of them."""
    fingerprint: str | None = None
    """Of your own images: 16 hexadecimal digits, by the names and sizes of a folder's
    files or by a file's content. Found when the training begins, so that no others are
    taken for the images it held out. Given: the images must have it."""

    def __post_init__(self):
        settle("data", self)
        require_from_data_or("data", self, "validation_images", 0)
        self._require_a_threshold()
        self._require_own_images()

    def _require_a_threshold(self) -> None:
        require(
            self.threshold is None or 0 < self.threshold < 1,
            "data.threshold must be above 0 and below 1, a share of the brightness, got"
            f" {self.threshold}; try 0.33",
        )
        require(
            self.threshold is None or self.quantization == "bins",
            "data.threshold needs data.quantization bins, got"
            f" {self.quantization}; pass that, or leave the threshold out",
        )

    def _require_own_images(self) -> None:
        if self.source == IMAGES:
            return
        defaults = {
            "path": None,
            "fit": "resize",
            "values": "auto",
            "classes": (),
            "fingerprint": None,
        }
        for name, default in defaults.items():
            value = getattr(self, name)
            require(
                value == default,
                f"data.{name} is for images of your own, got {value} and data.source"
                f" {self.source}; set data.source to {IMAGES}",
            )
        require(
            self.validation_images != FROM_DATA,
            "data.validation_images must be at least 0, but for images of your own, got"
            f" {FROM_DATA}; try 200",
        )


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
    beta1: float = 0.9
    """Adam's decay, per update, of the mean of the gradients."""
    beta2: float = 0.999
    """Adam's decay, per update, of the mean of their squares; less (0.95) follows
    gradients of changing size sooner."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate goes after the warm-up: constant, or down to zero over all
    updates along half a cosine. A finished run that is given more epochs goes on where
    the cosine over all of them stands, which is higher."""
    learning_rate_decay: float = 1.0
    """Factor per update by which the schedule shrinks: 0.999995 as in PixelCNN++
    halves the learning rate every 139,000 updates."""
    warmup_steps: int = 0
    """Updates over which the learning rate rises from zero."""
    weight_decay: float = 0.0
    """Share of each kernel that an update takes off, times the learning rate (AdamW);
    biases are left alone."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient; a longer one is scaled down to it."""
    ema_decay: float = 0.0
    """Per-update decay of the EMA weights, a running mean, that evaluation and sampling
    use; 0: no EMA, they use the weights themselves."""
    microbatch_size: int | None = None
    """Images whose gradients are computed at once; the gradients of a batch are summed
    over its microbatches, which saves memory. None: the whole batch on accelerators;
    on a CPU as many as are fastest, which a training of more than a minute measures
    when it begins and writes into its run (a shorter one takes 1,024 pixels)."""
    init_from: str | None = None
    """A run, or a model that ships with the package, whose best weights a new run
    begins with; they must have the shapes of this model's. The optimizer begins
    afresh."""
    mutation: float = 0.0
    """Share of the values of the training images that each visit replaces by levels
    drawn uniformly, for a background model, which learns what images have in common and
    not what they show (Ren et al. 2019). Training figures are those of the mutated
    images; validation and test images stay as they are."""
    batches_per_epoch: int | None = None
    """For `fit` on a source of batches: how many are an epoch. None: its length."""

    def __post_init__(self):
        settle("training", self)
        require_at_least("training", self, "epochs", 1)
        require_at_least("training", self, "batch_size", 1)
        require(
            0 < self.learning_rate < float("inf"),
            f"training.learning_rate must be positive, got {self.learning_rate};"
            " try 0.0005",
        )
        require_share("training", self, "beta1", 0.9)
        require_share("training", self, "beta2", 0.999)
        require(
            0 < self.learning_rate_decay <= 1,
            "training.learning_rate_decay must be above 0 and at most 1, got"
            f" {self.learning_rate_decay}; try 1",
        )
        require_at_least("training", self, "warmup_steps", 0)
        require(
            0 <= self.weight_decay < float("inf"),
            f"training.weight_decay must be at least 0, got {self.weight_decay}; try 0",
        )
        require_share("training", self, "ema_decay", 0.999)
        require_share("training", self, "mutation", 0.3)
        if self.batches_per_epoch is not None:
            require_at_least("training", self, "batches_per_epoch", 1)
        require(
            self.clip_norm is None or 0 < self.clip_norm < float("inf"),
            f"training.clip_norm must be positive, got {self.clip_norm}; try 1",
        )
        if self.microbatch_size is not None:
            require_at_least("training", self, "microbatch_size", 1)


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run."""

    seed: int = 0
    """Of the first weights, the order of the images, the samples drawn on the way."""
    workdir: str = "runs/digits"
    """The run's folder: settings, checkpoints, figures, pictures."""
    model: AnyModelConfig = PixelCNNConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()

    def __post_init__(self):
        settle("", self)
        require(
            0 <= self.seed < 2**32,
            f"seed must be at least 0 and below 2**32, got {self.seed}; try 0",
        )
        data, levels = self.data, self.model.levels
        two = levels in (2, FROM_DATA)
        require(
            data.quantization == "bins" or two,
            "data.quantization dynamic makes images of 2 levels, got model.levels"
            f" {levels}; set model.levels to 2",
        )
        require(
            data.threshold is None or two,
            f"data.threshold makes images of 2 levels, got model.levels {levels}; set"
            " model.levels to 2",
        )
        require(
            data.source == IMAGES or not self.model.unknown,
            f"model.{', model.'.join(self.model.unknown)} may be {FROM_DATA}, to be"
            f" taken from the data, only if data.source is {IMAGES}, got {data.source};"
            " pass a number",
        )

    def from_data(self) -> "Config":
        """The settings for images of your own, which tell what the data tell."""
        unknown = dict.fromkeys(FIELDS_OF_DATA, FROM_DATA)
        return dataclasses.replace(
            self,
            workdir="runs/images",
            model=dataclasses.replace(self.model, **unknown),
            data=dataclasses.replace(
                self.data, source=IMAGES, validation_images=FROM_DATA
            ),
        )
