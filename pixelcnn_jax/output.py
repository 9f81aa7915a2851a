"""Standard output, which may be closed or full: never at the price of work."""

import contextlib
import os
import sys


def say(line: str) -> None:
    """A line, at once, even if the output is a file; left out if it can't be said."""
    try:
        print(line, flush=True)
    except (OSError, ValueError):
        discard()


def discard() -> None:
    """Drop what was to be said and all that will be: else it would fail again."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
