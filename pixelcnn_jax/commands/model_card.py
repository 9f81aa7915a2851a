"""The card of a published model: what it is, and what it was made from."""

import shlex
from typing import NamedTuple

from pixelcnn_jax import config as settings
from pixelcnn_jax.config import ARRAYS, BATCHES, IMAGES, Config
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.params import to_params

DATA = {
    "digits": (
        "Optical Recognition of Handwritten Digits (E. Alpaydin and C. Kaynak, UCI"
        " Machine Learning Repository, 1998, doi:10.24432/C50P49), the 1,797 that"
        " scikit-learn ships; CC BY 4.0"
    ),
    "fashion_mnist": "Fashion-MNIST (Zalando Research, arXiv:1708.07747); MIT licence",
    "kmnist": "Kuzushiji-MNIST (CODH, arXiv:1812.01718); CC BY-SA 4.0",
    "mnist": "MNIST (Y. LeCun, C. Cortes and C. Burges); CC BY-SA 3.0",
}
"""What is known of the sets that presets name: origin and licence."""


class Figures(NamedTuple):
    """What was measured of a model."""

    step: int
    """Updates behind its weights."""
    validation: float | None
    """Bits per dimension, if measured."""
    test: float | None


def model_card(
    name: str, model: PixelModel, config: Config, figures: Figures, licence: str | None
) -> str:
    """The text of the card, Markdown."""
    c = config.model
    parameters = sum(x.size for x in to_params(model)[1].values())
    kind = f"{type(model).__name__}, {parameters:,} parameters"
    classes = f", given one of {c.num_classes} classes" if c.num_classes else ""
    return "\n".join(
        [
            f"# {name}",
            "",
            f"A model of images {c.height}x{c.width}x{c.channels} of {c.levels} levels"
            f"{classes}: {kind}.",
            "",
            f"- Data: {_data(config)}.",
            f"- Made by: {_command(config)}; the weights after {figures.step} updates.",
            f"- Bits per dimension{' given the class' if classes else ''}:"
            f" {_bits(figures)}.",
            f"- Licence of the weights: {licence or 'not stated; ask the author'}.",
            "",
            "```python",
            "import jax, pixelcnn_jax as pj",
            "",
            f'model = pj.load("{name}")  # this folder; its checksums are verified',
            _sample(c.num_classes),
            "```",
            "",
            "`sha256sum --check SHA256SUMS` verifies all files without the package.",
            "",
        ]
    )


def _sample(classes: int) -> str:
    labels = f", labels=jax.numpy.arange(64) % {classes}" if classes else ""
    return f"images = pj.sample(model, jax.random.key(0), 64{labels})"


def _data(config: Config) -> str:
    source, held_out = config.data.source, config.data.validation_images
    if source in (ARRAYS, BATCHES):
        return "the author's own arrays"
    if source == IMAGES:
        return f"the author's own images, {config.data.path}"
    about = DATA.get(source, f"{source}; see the set's own page for its licence")
    return f"{about}. {held_out} training images were held out for validation"


def _bits(figures: Figures) -> str:
    named = {"validation": figures.validation, "test": figures.test}
    found = [f"{x:.4f} on the {k} images" for k, x in named.items() if x is not None]
    return ", ".join(found) or "not measured"


def _command(config: Config) -> str:
    if config.data.source in (ARRAYS, BATCHES):
        return "`pixelcnn_jax.fit` or a loop of the author's"
    return f"`{training_command(config)}`"


def training_command(config: Config) -> str:
    """The shortest command line that trains with these settings."""
    idle = {f"model.{name}" for name in config.model.idle}
    found = settings.flatten(config)
    wanted = {name: value for name, value in found.items() if name not in idle}
    return min(
        (
            f"python train.py {name}{_flags(_usual(preset, config), wanted)}"
            for name, (_, preset) in settings.PRESETS.items()
            if type(preset.model) is type(config.model)
        ),
        key=len,
        default="pixelcnn_jax.train, with the settings of config.json",
    )


def _usual(preset: Config, config: Config) -> dict[str, object]:
    """What a preset's settings are if no flag but the source of the images is given."""
    if config.data.source != IMAGES:
        return settings.flatten(preset)
    # Images of one's own are named by a flag, and decide what others leave open.
    source = {"data.source": preset.data.source}
    return settings.flatten(preset.from_data()) | source


def _flags(preset: dict[str, object], wanted: dict[str, object]) -> str:
    different = {k: v for k, v in wanted.items() if preset[k] != v}
    return "".join(f" {_flag(name, value)}" for name, value in different.items())


def _flag(name: str, value: object) -> str:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        group, _, field = flag.rpartition(".")
        return f"--{flag}" if value else f"--{group + '.' if group else ''}no-{field}"
    if isinstance(value, tuple | list):
        return f"--{flag} {shlex.join(map(str, value))}"
    return f"--{flag} {shlex.quote(str(value))}"
