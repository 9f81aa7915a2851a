"""Silence for what other libraries say of their own accord, in any number of threads.

Python's warnings and loggers belong to the whole process: two threads that each changed
them and put them back would leave them changed. So the first to be quiet changes them,
and the last one puts them back.
"""

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator


class Quiet:
    """A context manager for all threads: silence while at least one is in it."""

    def __init__(self):
        self._lock = threading.Lock()
        self._inside = 0
        self._changed = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._changed.enter_context(_silence())
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._changed.close()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """No warning is shown, and no log of absl below a critical one."""
    logger = logging.getLogger("absl")
    former = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(former)


QUIET = Quiet()
"""The one of this process, to which warnings and loggers belong."""
