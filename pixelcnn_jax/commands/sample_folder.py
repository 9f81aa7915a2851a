"""A folder that fills with samples, and can be filled further."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import filelock

from pixelcnn_jax import hosts, locks
from pixelcnn_jax.commands.image_files import write
from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.files import read_text, scratch_name

SETTINGS = "samples.json"
"""What the images depend on; see `hold_folder`."""

LOCK = ".lock"

Gap = tuple[int, int]
"""Images that are missing: the first of them, and the one after the last."""


class Store(Protocol):
    """Where in a folder the images go."""

    def gaps(self, num_images: int) -> list[Gap]:
        """What is missing of the first images."""
        ...

    def add(self, first: int, images) -> None:
        """Keep images ``[B, H, W, C]``, of which the first has this index."""
        ...

    def flush(self) -> None:
        """Put all on disk."""
        ...


@contextlib.contextmanager
def hold_folder(path: Path, settings: Mapping[str, object]) -> Iterator[None]:
    """The folder of a job, made if it is missing, for this process only.

    Args:
        path: new, empty, or of the same job.
        settings: all that its images depend on, as JSON holds it.

    Raises:
        UserError: the folder holds anything else, or can't be written.
    """
    with hosts.by_first(lambda: _begin(path, settings)) or contextlib.nullcontext():
        yield


def _begin(path: Path, settings: Mapping[str, object]) -> contextlib.ExitStack:
    with _lock(path) as held:
        _require_same(path, settings)
        write(path / SETTINGS, (json.dumps(settings, indent=2) + "\n").encode())
        # Nothing was wrong, so it stays held.
        return held.pop_all()


def _lock(path: Path) -> contextlib.ExitStack:
    try:
        path.mkdir(parents=True, exist_ok=True)
        return locks.hold(path / LOCK)
    except filelock.Timeout as error:
        raise UserError(
            f"output must be a folder that no other process fills, and one fills"
            f" {path}; wait for it, or pass another"
        ) from error
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"output must be a folder that can be written, got {path} ({reason})"
        ) from error


def _require_same(path: Path, settings: Mapping[str, object]) -> None:
    if not (path / SETTINGS).exists():
        others = {x.name for x in path.iterdir()} - {LOCK, scratch_name(SETTINGS)}
        require(
            not others,
            f"output must be a new folder, an empty one or one that sample has begun,"
            f" and {path} holds {min(others, default='')}; pass another output",
        )
        return
    try:
        found = dict(json.loads(read_text(path / SETTINGS)))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path / SETTINGS} must be readable, as sample wrote it, got {error}; pass"
            " another output"
        ) from error
    different = [
        f"{name} {found.get(name)!r} (now {settings.get(name)!r})"
        for name in sorted(found.keys() | settings.keys())
        if found.get(name) != settings.get(name)
    ]
    require(
        not different,
        f"output must be a folder of the same samples, and {path} has"
        f" {', '.join(different)}; pass those or another output",
    )
