"""A run's settings on disk."""

import dataclasses
import json
from typing import get_args

from pixelcnn_jax.config.models import AnyModelConfig
from pixelcnn_jax.config.settings import Config, DataConfig, TrainingConfig
from pixelcnn_jax.errors import UserError, require

FORMAT = 2
"""Version of ``config.json``; a reader refuses versions that it does not know.

1 is that of pixelcnn_jax 0.1.0, whose fields are among today's.
"""

MODEL_KINDS: dict[str, type[AnyModelConfig]] = {
    config.kind: config for config in get_args(AnyModelConfig)
}
"""The config of each model by its name on disk."""


def to_json(config: Config) -> str:
    """The text of ``config.json``."""
    fields = dataclasses.asdict(config)
    fields["model"] = {"kind": config.model.kind, **fields["model"]}
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
            version in (1, FORMAT),
            f"config.json must have format 1 or {FORMAT}, got {version!r};"
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
            f"config.json must be a run's settings as training writes them, got"
            f" {error!r}; restore the file from a copy"
        ) from error


def flatten(config: Config) -> dict[str, object]:
    """Every field under its whole name, such as ``training.epochs``."""
    flat: dict[str, object] = {}
    for name, value in dataclasses.asdict(config).items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": item for key, item in value.items()}
        else:
            flat[name] = value
    return flat
