"""Folders that one process holds."""

import contextlib
import errno
import logging
import os
from pathlib import Path

import filelock

log = logging.getLogger(__name__)

WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What systems say whose file system can't lock, as some network file systems."""


def hold(file: Path) -> contextlib.ExitStack:
    """Hold the folder of a file, until what is returned is left or closed.

    On a file system without locks nothing is held, and a warning says so.

    Raises:
        filelock.Timeout: another process holds it.
        OSError, NotImplementedError: the file can't be written.
    """
    held = contextlib.ExitStack()
    try:
        # The operating system's lock: it ends with its process, in whatever way.
        lock = filelock.FileLock(file)
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        number = getattr(error, "errno", errno.ENOSYS)
        if number not in WITHOUT_LOCKS:
            raise
        log.warning(
            "the file system of %s has no locks (%s): see to it that only one process"
            " writes there",
            file.parent,
            os.strerror(number),
        )
        return held
    held.callback(lock.release)
    return held
