"""The manifest of a checkpoint: what must be in its folder for it to be whole."""

import hashlib
import json
import math
import os
import stat
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pixelcnn_jax.config import digest
from pixelcnn_jax.errors import require
from pixelcnn_jax.files import read_text, write_text

MANIFEST = "manifest.json"
FORMAT = 3
"""Version of a checkpoint. 1 is that of pixelcnn_jax 0.1.0, which did not say so; 2 had
no `Manifest.sizes`, no `Manifest.config` and no check sum of its own."""

GUARD = "checksum"
"""The field of the file that guards the others."""


class Manifest(NamedTuple):
    """What was saved."""

    format: int
    bits_per_dim: float | None
    """On the validation images; None if it was not measured, or is not a number."""
    sha256: dict[str, str]
    """Of each file, by its path in the folder."""
    sizes: dict[str, int] | None = None
    """Likewise, in bytes."""
    config: str | None = None
    """Digest of the settings; see `config.settings_digest`."""


def write(folder: Path, bits_per_dim: float | None, config: str | None = None) -> None:
    """Declare the files that are in a checkpoint's folder to be whole."""
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != MANIFEST]
    named = {path.relative_to(folder).as_posix(): path for path in paths}
    manifest = Manifest(
        FORMAT,
        bits_per_dim,
        {name: _sha256(path) for name, path in named.items()},
        {name: path.stat().st_size for name, path in named.items()},
        config,
    )
    fields = manifest._asdict()
    fields[GUARD] = digest(fields)
    write_text(folder / MANIFEST, json.dumps(fields, indent=1))


def read(folder: Path) -> Manifest | None:
    """The manifest of a checkpoint; None if it is missing, unreadable or damaged.

    Raises:
        UserError: it is of a later version of the package.
    """
    try:
        fields = json.loads(read_text(folder / MANIFEST))
        version = fields.setdefault("format", 1)
        if type(version) is int and 1 <= version <= FORMAT:
            return _from_fields(fields)
    # A damaged file may be anything: no text, no JSON, JSON that is no object, or a
    # number that is too large for a float.
    except (
        AttributeError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        RecursionError,
    ):
        return None
    require(
        type(version) is not int or version < FORMAT,
        f"a checkpoint must have format 1 to {FORMAT}, and {folder} has"
        f" {version!r}; a newer pixelcnn_jax may read it",
    )
    return None


# Any: the values of JSON, which are checked here.
def _from_fields(fields: dict[str, Any]) -> Manifest | None:
    guard = fields.pop(GUARD, None)
    guarded = guard is not None or fields["format"] == FORMAT
    if guarded and guard != digest(fields):
        return None
    found = Manifest(**fields)
    bits, sizes = found.bits_per_dim, found.sizes or {}
    names = [*found.sha256, *sizes]
    whole = (
        (bits is None or type(bits) in (int, float))
        and all(isinstance(x, str) for x in found.sha256.values())
        and all(type(x) is int for x in sizes.values())
        and (found.config is None or isinstance(found.config, str))
        and all(map(_may_be_within, names))
    )
    if not whole:
        return None
    score = None if bits is None or math.isnan(bits) else float(bits)
    return found._replace(bits_per_dim=score)


def _may_be_within(name: str) -> bool:
    """Whether a file in the checkpoint's folder can be called so."""
    leads_out = ".." in PurePosixPath(name).parts or name[:1] == "/"
    # ValueError for half a surrogate pair, which no name can have either.
    return not leads_out and b"\0" not in os.fsencode(name)


class Damage(NamedTuple):
    """What is wrong with a checkpoint."""

    problem: str
    unreadable: bool = False
    """Whether the files may yet be whole: they could not be read."""


def damage(folder: Path) -> Damage | None:
    """What is wrong with the files of a checkpoint; None if nothing is.

    Files that the manifest does not know, such as those of the system, do no harm.
    """
    manifest = read(folder)
    if manifest is None:
        return Damage(f"its {MANIFEST} is missing or unreadable")
    for name, expected in manifest.sha256.items():
        path, size = folder / name, (manifest.sizes or {}).get(name)
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                return Damage(f"{name} is no file")
            # The size first: a file of another kind may take hours to read.
            if size not in (None, found.st_size) or _sha256(path) != expected:
                return Damage(f"file {name} differs from what was saved")
        except (FileNotFoundError, NotADirectoryError):
            return Damage(f"file {name} is missing")
        except OSError as error:
            return Damage(f"file {name} can't be read ({error.strerror})", True)
    return None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
