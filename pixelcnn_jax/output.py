"""Standard output, which may be closed or full: never at the price of work."""

import contextlib
import os
import sys


def open_closed() -> None:
    """Let what was closed before the process began (``>&-``) take what is said."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115


def say(line: str) -> None:
    """A line, at once, even if the output is a file; left out if it can't be said."""
    try:
        try:
            print(line, flush=True)
        except UnicodeEncodeError:  # a file's name in other bytes
            print(line.encode("ascii", "backslashreplace").decode(), flush=True)
    except (OSError, ValueError):
        discard()


def discard() -> None:
    """Drop what was to be said and all that will be: else it would fail again."""
    # Some outputs, such as a notebook's, are no file.
    with (
        contextlib.suppress(OSError, ValueError, AttributeError),
        open(os.devnull, "w") as nothing,
    ):
        os.dup2(nothing.fileno(), sys.stdout.fileno())
