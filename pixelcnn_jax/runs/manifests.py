"""The manifest of a checkpoint: what must be in its folder for it to be whole."""

import hashlib
import json
import math
from pathlib import Path
from typing import NamedTuple

from pixelcnn_jax.errors import UserError
from pixelcnn_jax.files import write_text

MANIFEST = "manifest.json"
FORMAT = 2
"""Version of a checkpoint. 1 is that of pixelcnn_jax 0.1.0, which did not say so."""


class Manifest(NamedTuple):
    """What was saved."""

    format: int
    bits_per_dim: float | None
    """On the validation images; None if it was not measured, or is not a number."""
    sha256: dict[str, str]
    """Of each file, by its path in the folder."""


def write(folder: Path, bits_per_dim: float | None) -> None:
    """Declare the files that are in a checkpoint's folder to be whole."""
    names = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != MANIFEST]
    manifest = Manifest(
        FORMAT,
        bits_per_dim,
        {path.relative_to(folder).as_posix(): _sha256(path) for path in names},
    )
    write_text(folder / MANIFEST, json.dumps(manifest._asdict(), indent=1))


def read(folder: Path) -> Manifest | None:
    """The manifest of a checkpoint; None if it is missing or unreadable.

    Raises:
        UserError: it is of a later version of the package.
    """
    try:
        fields = json.loads((folder / MANIFEST).read_text())
        version = fields.get("format", 1)
        bits = fields["bits_per_dim"]
        score = None if bits is None or math.isnan(bits) else float(bits)
        found = Manifest(version, score, dict(fields["sha256"]))
    # A damaged file may be anything: no text, no JSON, or JSON that is no object.
    except (AttributeError, OSError, ValueError, KeyError, TypeError):
        return None
    if found.format not in (1, FORMAT):
        raise UserError(
            f"a checkpoint must have format 1 or {FORMAT}, and {folder} has"
            f" {found.format!r}; a newer pixelcnn_jax may read it"
        )
    return found


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
        try:
            if _sha256(folder / name) != expected:
                return Damage(f"file {name} differs from what was saved")
        except (FileNotFoundError, NotADirectoryError):
            return Damage(f"file {name} is missing")
        except OSError as error:
            return Damage(f"file {name} can't be read ({error.strerror})", True)
    return None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
