"""Train a model: a preset, and flags that override its settings."""

import itertools

from pixelcnn_jax import config
from pixelcnn_jax.commands.flags import SPREADS, Command, flags_of, parse
from pixelcnn_jax.errors import require
from pixelcnn_jax.runs import Run
from pixelcnn_jax.training import train

ABOUT = "Train a PixelCNN, or go on with a run that was interrupted."
FLAGS = flags_of(
    {
        name: None
        for _, preset in config.PRESETS.values()
        for name in config.flatten(preset)
    }
)
"""The flag of each setting, whatever the model."""


def run(args: list[str], program: str) -> None:
    """Train with the settings that the arguments give.

    Raises:
        UserError: one of them is wrong, or see `pixelcnn_jax.train`.
    """
    named = bool(args) and not args[0].startswith("-")
    name, flags = (args[0], args[1:]) if named else ("digits", args)
    default = config.preset(name)
    presets = "".join(f"\n  {key}: {text}" for key, (text, _) in config.PRESETS.items())
    about = (
        f"{ABOUT} The first argument may name a preset, whose settings the options"
        f" override. {SPREADS} Presets:{presets}"
    )
    if _names_own_images(flags):
        # What no flag gives is then taken from the images.
        default = default.from_data()
    settings = parse(config.Config, default, flags, f"{program} {name}", about)
    if not Run(settings.workdir).checkpoints.steps():
        # A run that has begun goes on with its own settings, idle ones included.
        _require_effect(flags, settings.model)
    train(settings)


def _require_effect(flags: list[str], model: config.ModelConfig) -> None:
    """Raise if a flag that was given changes nothing.

    What a preset brings may lie idle: another flag may have made it so.
    """
    given = {flag.split("=")[0].replace("_", "-") for flag in flags}
    for field, needed in model.idle.items():
        name = f"model.{field}"
        require(
            FLAGS[name] not in given,
            f"{name} needs {needed}, got {getattr(model, field)} without it; pass both"
            " or neither",
        )


def _names_own_images(flags: list[str]) -> bool:
    """Whether the flags ask for images of the user's own.

    Read before all others, whose defaults depend on it.
    """
    words = [word for flag in flags for word in flag.split("=", 1)]
    pairs = itertools.pairwise(words)
    return ("--data.source", config.IMAGES) in pairs


COMMAND = Command("train", ABOUT, FLAGS, run, spreads=True)
