"""A folder that fills with samples, and can be filled further."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import filelock

from pixelcnn_jax import hosts, locks
from pixelcnn_jax.commands.image_files import write
from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.files import read_text, remove_scratch, scratch_pattern

SETTINGS = "samples.json"
"""What the images depend on; see `hold_folder`."""

LOCK = ".lock"

FILES = (SETTINGS, "images_*", "[0-9]*.png")
"""What sample writes there, and in a folder per class; as patterns of ``glob``."""

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
    # Before anything is made in a folder that may be somebody else's.
    _require_same(path, settings)
    with _lock(path) as held:
        # Another process may have begun it meanwhile.
        _require_same(path, settings)
        _remove_interrupted(path)
        write(path / SETTINGS, (json.dumps(settings, indent=2) + "\n").encode())
        # Nothing was wrong, so it stays held.
        return held.pop_all()


def _remove_interrupted(path: Path) -> None:
    """Delete what writers that were killed have left; the folder must be held."""
    # Not Path.iterdir, after which each of many pictures would be looked at.
    with os.scandir(path) as found:
        folders = [path, *(Path(x) for x in found if x.is_dir())]
    for folder in folders:
        remove_scratch(folder, FILES)


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
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or error
    return UserError(
        f"output must be a folder that can be written, got {path} ({reason})"
    )


def _others(path: Path) -> set[str]:
    """What a folder holds that sample has not put there before its settings."""
    if not path.exists():
        return set()
    begun = {LOCK, *(x.name for x in path.glob(scratch_pattern(SETTINGS)))}
    return {x.name for x in path.iterdir()} - begun


def _require_same(path: Path, settings: Mapping[str, object]) -> None:
    try:
        # In this order: who begins it meanwhile writes the settings first.
        others = _others(path)
        begun = (path / SETTINGS).exists()
    except OSError as error:
        raise _unusable(path, error) from error
    if not begun:
        require(
            not others,
            f"output must be a new folder, an empty one or one that sample has begun,"
            f" and {path} holds {min(others, default='')}; pass another output",
        )
        return
    try:
        found = json.loads(read_text(path / SETTINGS))
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError, RecursionError) as error:
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
