"""A run's settings on disk."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import Any, get_args

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


GUARD = "sha256"
"""The field of ``config.json`` that guards the others; see `read_json`."""


def to_json(config: Config) -> str:
    """The text of ``config.json``."""
    fields = dataclasses.asdict(config)
    fields["model"] = {"kind": config.model.kind, **fields["model"]}
    fields = {"format": FORMAT, **fields}
    # First, so that its line can be deleted by itself.
    return json.dumps({GUARD: digest(fields), **fields}, indent=2) + "\n"


def digest(fields: object) -> str:
    """The SHA-256 of what JSON can hold, however it is laid out in a file."""
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def from_json(text: str) -> Config:
    """The config whose `to_json` is ``text``; see `read_json`."""
    return read_json(text)[0]


def read_json(text: str) -> tuple[Config, bool]:
    """The config of a ``config.json``, and whether its check sum guards it.

    Without the line of the check sum, which versions before 0.2.0 did not write, the
    settings are taken as they stand: whoever edits them on purpose takes it out.

    Raises:
        UserError: the text is no such config, of a later version of the package, or
            other than its check sum says.
    """
    try:
        fields = json.loads(text, parse_constant=_no_constant)
        guard = fields.pop(GUARD, None)
        require(
            guard in (None, digest(fields)),
            f"config.json must be as training wrote it, and is not what its {GUARD}"
            f" says; restore it, or, if it was edited on purpose, delete the line of"
            f" {GUARD}",
        )
        return _from_fields(fields), guard is not None
    except UserError:
        raise
    # JSON may nest too deeply, or hold an integer that is too long for Python.
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        detail = f"{type(error).__name__} {error}"[:100]
        raise UserError(
            f"config.json must be a run's settings as training writes them, got"
            f" {detail}; restore the file from a copy"
        ) from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name}, which no setting can be")


# Any: the values of JSON, whose types the dataclasses check.
def _from_fields(fields: dict[str, Any]) -> Config:
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


def settings_digest(config: Config, without: Iterable[str]) -> str:
    """The SHA-256 of the settings but some, for checkpoints that were made with them.

    Of those that differ from their defaults only, so that it stays when a later version
    has more settings.

    Args:
        without: names as `flatten` has them, such as ``training.epochs``.
    """
    default = flatten(Config(model=type(config.model)()))
    fields = {
        name: value
        for name, value in flatten(config).items()
        if name not in without and (name not in default or value != default[name])
    }
    return digest({**fields, "kind": config.model.kind})


def flatten(config: Config) -> dict[str, object]:
    """Every field under its whole name, such as ``training.epochs``."""
    flat: dict[str, object] = {}
    for name, value in dataclasses.asdict(config).items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": item for key, item in value.items()}
        else:
            flat[name] = value
    return flat
