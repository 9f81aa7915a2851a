"""What tells images of your own from others; see `DataConfig.fingerprint`."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

PIECE = 2**16
"""Bytes of a file that are looked at together."""

PIECES = 256
"""At most about so many of a file are looked at."""


def of_folder(folder: Path, files: Sequence[Path]) -> str:
    """By the names and sizes of files in a folder, wherever that is."""
    names = (path.relative_to(folder).as_posix() for path in files)
    sizes = (path.stat().st_size for path in files)
    lines = zip(names, sizes, strict=True)
    return _digest(f"{size} {name}\n".encode() for name, size in lines)


def of_file(path: Path) -> str:
    """By a file's content, whatever it is called."""
    return _digest(_pieces(path))


def _pieces(path: Path) -> Iterator[bytes]:
    """A file's length, and its content: of a large file some, from its whole length."""
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        yield f"{length}\n".encode()
        for start in range(0, length, max(PIECE, length // PIECES)):
            file.seek(start)
            yield file.read(PIECE)
        file.seek(max(0, length - PIECE))  # where an archive has its check sums
        yield file.read(PIECE)


def _digest(pieces: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece)
    return found.hexdigest()[:16]
