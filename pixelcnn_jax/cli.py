"""What the three command lines share: flags from dataclasses, errors in one line."""

import contextlib
import io
import re
import sys
from collections.abc import Callable
from typing import TypeVar

import tyro

from pixelcnn_jax.errors import UserError

T = TypeVar("T")


def parse(
    settings: type[T], default: T, args: list[str], program: str, about: str
) -> T:
    """The settings that flags ask for; every field of the dataclass is a flag.

    Raises:
        UserError: a flag is unknown, or its value of the wrong type.
    """

    def read() -> T:
        return tyro.cli(
            settings, default=default, args=args, prog=program, description=about
        )

    if "-h" in args or "--help" in args:
        return read()
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
            return read()
    except SystemExit as error:
        raise UserError(_one_line(printed.getvalue(), program)) from error


def _one_line(box: str, program: str) -> str:
    """The framed message that tyro prints, without its frame and its repetitions."""
    frame = "[\u2500-\u257f]|(?<![^ \n])[|+](?![^ \n])|-{4,}"
    lines = [re.sub(frame, " ", line).strip() for line in box.splitlines()[1:]]
    message, _, rest = "\n".join(lines).strip().partition("\n\n")
    message = " ".join(message.removeprefix("Error parsing model: ").split())
    flags = re.findall(r"--[\w.-]+", rest) if "Perhaps" in rest else []
    hint = f"; perhaps you meant {flags[0]}" if flags else ""
    return f"{message.rstrip('.')}{hint}; see {program} --help"


def main(run: Callable[[list[str]], None]) -> None:
    """Run a command line and end the process with its exit status.

    0 when all went well, 2 after a `UserError`, which is shown in one line, 130 when
    interrupted.
    """
    try:
        run(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interrupt:
        kept = f" ({interrupt}); the same command goes on" if str(interrupt) else ""
        print(f"\nstopped{kept}", file=sys.stderr)
        sys.exit(130)
