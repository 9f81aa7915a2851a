"""Writing files and folders whole or not at all; reading only files of a sane size."""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

SMALL = 2**24
"""The most bytes of a file of settings."""

LARGEST = 2**33
"""The most bytes of a file that is read whole."""


def read_bytes(path: Path, most: int = SMALL) -> bytes:
    """The content of a file.

    Raises:
        OSError: it can't be read, is larger than ``most`` bytes, or is no regular file:
            a pipe could keep a reader waiting, and a device has no end.
    """
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "no regular file", str(path))
    if found.st_size > most:
        raise OSError(errno.EFBIG, f"larger than {most} bytes", str(path))
    return path.read_bytes()


def read_text(path: Path, most: int = SMALL) -> str:
    """`read_bytes` of a text in UTF-8; ValueError if it is none."""
    return read_bytes(path, most).decode()


def scratch_name(name: str) -> str:
    """What a file or folder is called before it is whole."""
    return f".{name}.tmp"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, even if the machine stops.

    Raises:
        OSError: it can't be written; what stood there before still does.
    """
    # Beside the file: only within one file system is a rename atomic.
    scratch = path.with_name(scratch_name(path.name))
    try:
        with open(scratch, "wb") as file:
            file.write(content)
            file.flush()
            # Without this, a file system may rename before the content is on disk.
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except BaseException:  # an interruption, too
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise


def try_to_write(path: Path) -> None:
    """Raise OSError if `write_bytes` could not; nothing is changed."""
    scratch = path.with_name(scratch_name(path.name))
    try:
        with open(scratch, "xb"):
            pass
    except FileExistsError:
        # Another process may be writing it, which is not to be disturbed.
        replaced = os.access(scratch, os.W_OK) and os.access(path.parent, os.W_OK)
        if scratch.is_file() and replaced:
            return
        raise
    scratch.unlink()


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of a text, in UTF-8."""
    write_bytes(path, text.encode())


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes its place once it is whole, or not at all.

    Raises:
        FileExistsError: the place is taken: by a file, or a folder that is not empty.
        OSError: it can't be written.
    """
    path = path.resolve()  # which has a name: "." has none
    if path == Path.cwd():
        raise OSError(errno.EBUSY, "it is the current folder", str(path))
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise FileExistsError(f"{path} exists")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside it: only within one file system is a rename atomic.
    scratch = path.with_name(scratch_name(path.name))
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
        if path.exists():
            path.rmdir()  # which some systems do not rename over
        os.replace(scratch, path)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
