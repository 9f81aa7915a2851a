"""Flags from dataclasses, and what is wrong with them in one line."""

import contextlib
import dataclasses
import difflib
import io
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import docstring_parser
import tyro

from pixelcnn_jax.config.checks import require_some_text
from pixelcnn_jax.errors import UserError, require

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

DISTRIBUTED = "--distributed"
SPREADS = f"With {DISTRIBUTED}, processes on several hosts do it together."


class Command(NamedTuple):
    """A command line."""

    name: str
    about: str
    flags: Mapping[str, str]
    """The flag of each field that the library's errors may name."""
    run: Callable[[list[str], str], None]
    """What it does, from its arguments and the program's name; may raise UserError."""
    spreads: bool = False
    """Whether several processes may do it together."""


def required(name: str) -> tuple[object, ...]:
    """Annotations of an argument that is no flag; see `require_both`."""
    # Its default is empty, which help would show as if it could be left out.
    shown = tyro.conf.arg(metavar=name, help_behavior_hint="(required)")
    return tyro.conf.Positional, shown


def require_both(first: str, second: str, program: str, what: str) -> None:
    """Raise unless two arguments that are no flags were given.

    Args:
        first, second: empty if they were not.
        what: the two are, such as "the run and the output".
    """
    require(
        bool(first and second),
        f"{what} must both be named, got {first or 'neither'}; see {program} --help",
    )


def parse(
    settings: type[T], default: T, args: list[str], program: str, about: str
) -> T:
    """The settings that flags ask for; every field of the dataclass is a flag.

    Raises:
        UserError: a flag is unknown, or its value of the wrong type or empty.
    """

    def read() -> T:
        return tyro.cli(
            settings,
            default=default,
            args=args,
            prog=program,
            description=about,
            config=(tyro.conf.AvoidSubcommands,),  # the default names the model
        )

    if "-h" in args or "--help" in args:
        _write_paragraphs(default)
        return read()
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
            found = read()
    except SystemExit as error:
        raise UserError(_one_line(printed.getvalue(), args, program)) from error
    for field in dataclasses.fields(found):
        value = getattr(found, field.name)
        # Of what is no flag, and required, the default is empty.
        if isinstance(value, str) and getattr(default, field.name) != "":
            require_some_text(field.name, value)
    return found


def _write_paragraphs(settings: "DataclassInstance") -> None:
    """Give tyro what is written below each field as one paragraph.

    tyro 1.0 keeps the line breaks of an indented docstring in its help. So each
    field's metadata gets a text, in the settings' class and for good.

    Args:
        settings: those among the values of its fields follow.
    """
    texts = {
        written.arg_name: written.description
        for cls in reversed(type(settings).__mro__[:-1])
        for written in docstring_parser.parse_from_object(cls).params
    }
    for field in dataclasses.fields(settings):
        text = " ".join((texts.get(field.name) or "").split())
        if text:
            field.metadata = MappingProxyType({**field.metadata, "help": text})
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            _write_paragraphs(value)


def _one_line(box: str, args: list[str], program: str) -> str:
    """The framed message that tyro prints, without its frame and its repetitions.

    Args:
        args: what tyro read.
    """
    # Lines of a box: Unicode's, or the ASCII that stands in for them.
    frame = "[\u2500-\u257f]|(?<![^ \n])[|+](?![^ \n])|-{4,}"
    lines = [re.sub(frame, " ", line).strip() for line in box.splitlines()[1:]]
    message, _, rest = "\n".join(lines).strip().partition("\n\n")
    message = _without_types(" ".join(message.split()), args)
    wrong, flags = (re.findall(r"--[\w.-]+", text) for text in (message, rest))
    hint = ""
    if wrong and flags and "Perhaps" in rest:
        # tyro orders them by the words that they share.
        closest = max(flags, key=lambda flag: _likeness(wrong[0], flag))
        hint = f"; perhaps you meant {closest}"
    return f"{message.rstrip('.')}{hint}; see {program} --help"


def _without_types(message: str, args: list[str]) -> str:
    """What tyro says of a value, in words that need no Python."""
    _, flag, said = re.fullmatch(r"(Error parsing ([\w.-]+): )?(.*)", message).groups()  # type: ignore[union-attr]
    # What isn't about a flag's value is our own, which names the field.
    if flag is None or not flag.startswith("-"):
        return said
    value = _value_of(flag, args)
    if re.match(r"invalid literal for int|no type .*\bINT\b", said):
        return f"{flag} must be a whole number, got {value}"
    if re.match(r"could not convert string to float|no type .*\bFLOAT\b", said):
        return f"{flag} must be a number, got {value}"
    return f"{flag}: {said}"


def _value_of(flag: str, args: list[str]) -> str:
    """The word after a flag, the last one if it was given more than once."""
    words = [*args, ""]
    for i in reversed(range(len(args))):
        name, equals, value = words[i].partition("=")
        if name.startswith("--") and name.replace("_", "-") == flag:
            return value if equals else words[i + 1]
    return ""


def _likeness(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()


def name_flags(message: str, flags: Mapping[str, str]) -> str:
    """A message of the library with its fields as flags.

    Args:
        message: names fields, such as ``training.batch_size``.
        flags: the flag of each field.
    """
    for field, flag in flags.items():
        # A single word may be plain English, unless a message begins with it.
        start = "^" if re.fullmatch("[a-z]+", field) and field != "workdir" else ""
        name = rf"{start}(?<![\w/.-]){re.escape(field)}(?![\w/-]|\.\w)"
        message = re.sub(name, flag, message)
    return message


def flags_of(names: Iterable[str]) -> dict[str, str]:
    """The flag of each field: ``training.batch_size`` is ``--training.batch-size``."""
    return {name: f"--{name.replace('_', '-')}" for name in names}
