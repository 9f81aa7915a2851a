"""The cache of compiled programs: what is wrong with it is said in one line."""

import contextlib
import glob
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

TROUBLE = re.compile(r"Error (read|writ)ing persistent compilation cache.*?'(.*?)'")
"""What JAX warns of, each time anew."""


@contextlib.contextmanager
def watched_cache() -> Iterator[None]:
    """Remove damaged entries of the cache, so that the next process has whole ones.

    Without the cache all goes on, only slower.
    """
    show, told = warnings.showwarning, set[str]()

    # Any: as Python calls it.
    def show_or_mend(message: Any, *rest: Any, **more: Any) -> None:
        found = TROUBLE.match(str(message))
        if found is None:
            show(message, *rest, **more)
            return
        folder = Path(str(_setting("jax_compilation_cache_dir")))
        if found[1] == "read":
            _remove(folder, found[2])
        if found[1] not in told:
            told.add(found[1])
            done = "read" if found[1] == "read" else "written"
            print(
                f"the cache of compiled programs in {folder} could not be {done};"
                " programs are compiled anew",
                file=sys.stderr,
            )

    warnings.showwarning = show_or_mend
    try:
        yield
    finally:
        warnings.showwarning = show


def _remove(folder: Path, program: str) -> None:
    """Remove a program's entries, from a cache that is the package's own."""
    if folder.name != "pixelcnn_jax":
        return
    # No warning's text is worth an error: NotImplementedError is glob's for a path.
    with contextlib.suppress(OSError, ValueError, NotImplementedError):
        for path in folder.glob(f"{glob.escape(program)}-*"):
            os.remove(path)


def _setting(name: str) -> object:
    return getattr(jax.config, name)
