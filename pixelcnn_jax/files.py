"""Writing files and folders whole or not at all; reading only files of a sane size."""

import contextlib
import errno
import glob
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

SMALL = 2**24
"""The most bytes of a file of settings."""

LARGEST = 2**33
"""The most bytes of a file that is read whole."""

ABANDONED_SECONDS = 7 * 86400.0
"""Age of a scratch file or folder that nobody fills any more."""

TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
"""What systems say of a place that is not an empty folder."""


def read_bytes(path: Path, most: int = SMALL) -> bytes:
    """The content of a file.

    Raises:
        OSError: it can't be read, is larger than ``most`` bytes, or is no regular file:
            a pipe could keep a reader waiting, and a device has no end.
    """
    found = os.stat(path)
    _require_file(path, found.st_mode)
    if found.st_size > most:
        raise OSError(errno.EFBIG, f"larger than {most} bytes", str(path))
    return path.read_bytes()


def read_text(path: Path, most: int = SMALL) -> str:
    """`read_bytes` of a text in UTF-8; ValueError if it is none."""
    return read_bytes(path, most).decode()


def _require_file(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "no regular file", str(path))


def scratch_name(name: str) -> str:
    """What a file or folder is called before it is whole: for each writer otherwise."""
    # Not by the module random, whose state processes that fork have in common.
    return f".{name}.{secrets.token_hex(6)}.tmp"


def scratch_pattern(name: str) -> str:
    """All that `scratch_name` may return, as a pattern of ``glob``."""
    return f".{name}.{'[0-9a-f]' * 12}.tmp"


def remove_scratch(folder: Path, names: Iterable[str], seconds: float = 0.0) -> None:
    """Remove what writers that were killed have left in a folder.

    Args:
        folder: where it stands.
        names: of what was to be written, as patterns of ``glob``.
        seconds: its age at least; 0 only where nobody else writes these now.
    """
    left = [path for name in names for path in folder.glob(scratch_pattern(name))]
    for path in left:
        # Litter that can't be removed is no reason to stop.
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime < seconds:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _place(path: Path) -> tuple[Path, int | None]:
    """Where a file really is, and its permission bits; None if it is yet to be made.

    Raises:
        OSError: it is something else than a file.
    """
    # A link stays one: what it leads to is written.
    place = Path(os.path.realpath(path))
    try:
        mode = os.stat(place).st_mode
    except FileNotFoundError:
        return place, None
    _require_file(path, mode)
    return place, stat.S_IMODE(mode)


def _keep_mode(scratch: Path, mode: int | None) -> None:
    """Give what is new the permission bits of what it replaces, if it does."""
    # Not if it has them: there are file systems that know no others.
    if mode is not None and mode != stat.S_IMODE(scratch.stat().st_mode):
        scratch.chmod(mode)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, even if the machine stops.

    Others may write it at the same time: it is then what one of them wrote.

    Raises:
        OSError: it can't be written; what stood there before still does.
    """
    place, mode = _place(path)
    # Beside the file: only within one file system is a rename atomic.
    scratch = place.with_name(scratch_name(place.name))
    try:
        with open(scratch, "xb") as file:
            _keep_mode(scratch, mode)
            file.write(content)
            file.flush()
            # Without this, a file system may rename before the content is on disk.
            os.fsync(file.fileno())
        os.replace(scratch, place)
    except BaseException:  # an interruption, too
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise


def try_to_write(path: Path) -> None:
    """Raise OSError if `write_bytes` could not.

    Nothing is changed, but for what a writer of this file has left that was killed long
    ago.
    """
    place, _ = _place(path)
    scratch = place.with_name(scratch_name(place.name))
    with open(scratch, "xb"):
        pass
    scratch.unlink()
    remove_scratch(place.parent, [glob.escape(place.name)], ABANDONED_SECONDS)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of a text, in UTF-8."""
    write_bytes(path, text.encode())


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes its place once it is whole, or not at all.

    Of several that are filled for one place at a time, one takes it.

    Raises:
        FileExistsError: the place is taken: by a file, or a folder that is not empty.
        OSError: it can't be written.
    """
    path = path.resolve()  # which has a name: "." has none
    if path == Path.cwd():
        raise OSError(errno.EBUSY, "it is the current folder", str(path))
    mode = _mode_of_empty(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_scratch(path.parent, [glob.escape(path.name)], ABANDONED_SECONDS)
    # Beside it: only within one file system is a rename atomic.
    scratch = path.with_name(scratch_name(path.name))
    scratch.mkdir()
    try:
        _keep_mode(scratch, mode)
        yield scratch
        _take(path, scratch)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _mode_of_empty(path: Path) -> int | None:
    """The permission bits of an empty folder; None if there is nothing.

    Raises:
        FileExistsError: there is something else.
    """
    if not path.exists():
        return None
    if not path.is_dir() or any(path.iterdir()):
        raise FileExistsError(f"{path} exists")
    return stat.S_IMODE(path.stat().st_mode)


def _take(path: Path, scratch: Path) -> None:
    """Give a folder its place, which may have been taken while it was filled."""
    try:
        # Some systems do not rename over an empty folder.
        with contextlib.suppress(FileNotFoundError):
            path.rmdir()
        os.replace(scratch, path)
    except OSError as error:
        if error.errno in TAKEN:
            raise FileExistsError(f"{path} exists") from error
        raise
