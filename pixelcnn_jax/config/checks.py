"""Rules that several settings share."""

import dataclasses
import os
import types
import typing
from typing import Any, Literal

import numpy as np

from pixelcnn_jax.errors import require

MOST = 2**31 - 1
"""The largest integer setting: XLA counts in 32 bits."""

FROM_DATA = -1
"""The value of a setting that is to be taken from the data (`data.OwnData`)."""

LARGEST_KERNEL = 99
MOST_LAYERS = 200
MOST_GROUPS = 32
WIDEST = 2**16
"""Bounds of networks, beyond which building one would take hours or all memory."""


def settle(group: str, config: object) -> None:
    """Make each field of a dataclass the plain value that its annotation asks for.

    NumPy's numbers become Python's, and paths become text, so that all settings can be
    written down; lists become tuples.

    Args:
        group: the dataclass's name in the settings, "" for all of them.
        config: a frozen dataclass; called from its ``__post_init__``.

    Raises:
        UserError: a value is of another type.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        name = f"{group}.{field.name}" if group else field.name
        value = _plain(name, hints[field.name], getattr(config, field.name))
        object.__setattr__(config, field.name, value)


# Any: an annotation is a class, a union, a Literal or an alias, which share no type.
def _plain(name: str, hint: Any, value: Any) -> Any:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        known = any(type(value) is type(x) and value == x for x in options)
        names = ", ".join(map(str, options))
        require(known, f"{name} must be one of {names}, got {value!r}")
    elif origin in (typing.Union, types.UnionType):
        return _one_of(name, options, value)
    elif origin is tuple and options[-1] is Ellipsis:
        require(isinstance(value, list | tuple), _wrong(name, "a list", value))
        return tuple(_plain(name, options[0], x) for x in value)
    elif hint in _SCALARS:
        return _scalar(name, hint, value)
    elif isinstance(hint, type):
        require(isinstance(value, hint), _wrong(name, f"a {hint.__name__}", value))
    return value


def _one_of(name: str, kinds: tuple[type, ...], value: Any) -> Any:
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if len(kinds) == 1:
        return _plain(name, kinds[0], value)
    words = " or ".join(kind.__name__ for kind in kinds)
    require(isinstance(value, kinds), _wrong(name, f"a {words}", value))
    return value


_SCALARS: dict[Any, tuple[tuple[type, ...], Any, str]] = {
    bool: ((bool, np.bool_), bool, "true or false"),
    int: ((int, np.integer), int, "an integer"),
    float: ((int, float, np.integer, np.floating), float, "a number"),
    str: ((str, os.PathLike), os.fspath, "text"),
}
"""Of each plain type: what is taken, how it is converted, and its name."""


def _scalar(name: str, hint: type, value: Any) -> Any:
    kinds, convert, words = _SCALARS[hint]
    # To Python, True is an integer.
    misled = isinstance(value, bool | np.bool_) and hint is not bool
    require(isinstance(value, kinds) and not misled, _wrong(name, words, value))
    if isinstance(value, int | np.integer):
        # Python refuses to print integers of thousands of digits.
        shown = str(value) if abs(value) < 10**30 else "one of more than 30 digits"
        fits = bool(abs(value) < 2**63)
        require(fits, f"{name} must be at most {MOST}, got {shown}; try less")
    plain = convert(value)
    if hint is str:
        require(
            isinstance(plain, str) and is_utf8(plain) and "\0" not in plain,
            f"{name} must be text in UTF-8 without zero bytes, got {plain!r}",
        )
        require_some_text(name, plain)
    return plain


def require_some_text(name: str, text: str) -> None:
    """Raise if it is empty, as a shell makes it of a variable that is not set."""
    # As a path it would be the current folder.
    require(text != "", f"{name} must not be empty, got ''; leave it out, or pass text")


def is_utf8(text: str) -> bool:
    """Whether a text can be written down; names of files may be other bytes."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _wrong(name: str, words: str, value: object) -> str:
    shown = repr(value)
    if len(shown) > 60:
        shown = f"{shown[:60]}..."
    return f"{name} must be {words}, got {shown} of type {type(value).__name__}"


def require_at_least(
    group: str, config: object, field: str, least: int, most: int = MOST
) -> None:
    value = getattr(config, field)
    require(
        value >= least,
        f"{group}.{field} must be at least {least}, got {value}; try {least}",
    )
    require(
        value <= most,
        f"{group}.{field} must be at most {most}, got {value}; try less",
    )


def require_share(group: str, config: object, field: str, example: float) -> None:
    value = getattr(config, field)
    require(
        0 <= value < 1,
        f"{group}.{field} must be at least 0 and below 1, got {value}; try {example}",
    )


def require_from_data_or(
    group: str, config: object, field: str, least: int, most: int = MOST
) -> None:
    if getattr(config, field) != FROM_DATA:
        require_at_least(group, config, field, least, most)
