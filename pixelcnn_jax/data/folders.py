"""Folders of image files: which there are, and what their folders say of them."""

import re
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pixelcnn_jax.data.decoding import SUFFIXES
from pixelcnn_jax.errors import UserError, require

SPLITS = ("train", "validation", "test")
"""The parts of a data set, as folders and the array ``split`` name them."""

DEEPEST = 16
"""Folders within folders: links that lead in circles end here."""


class Listing(NamedTuple):
    """The image files of a folder, in an order that depends on their names only."""

    paths: list[Path]
    labels: np.ndarray | None
    """int32 ``[N]``: the place of the file's folder among ``classes``."""
    split: np.ndarray | None
    """int8 ``[N]``: the file's part, as a place in `SPLITS`."""
    classes: list[str]


def listing(folder: Path, known: tuple[str, ...] = ()) -> Listing:
    """The images of a folder: as they are, by class, by split, or by both.

    Args:
        folder: where they are.
        known: names of classes in the order of their labels. If the folder has no
            others, these are its classes, even if it lacks some.

    Raises:
        UserError: there are none, it mixes these forms, or it can't be read.
    """
    try:
        parts = _parts(folder)
        found = {name: _by_class(place) for name, place in parts.items()}
    except OSError as error:
        raise UserError(
            f"{error.filename} must be a folder that can be read, got {error.strerror};"
            " mend that or remove it"
        ) from error
    classes = _classes(folder, found)
    classes = list(known) if classes and set(classes) <= set(known) else classes
    rows = [
        (path, name, part)
        for part, by_class in found.items()
        for name, paths in by_class.items()
        for path in paths
    ]
    paths, names, splits = zip(*rows, strict=True)
    place = {name: label for label, name in enumerate(classes)}
    labels = [place[name] for name in names] if classes else None
    split = None if parts.keys() == {""} else [SPLITS.index(x) for x in splits]
    return Listing(
        list(paths),
        None if labels is None else np.array(labels, np.int32),
        None if split is None else np.array(split, np.int8),
        classes,
    )


def _parts(folder: Path) -> dict[str, Path]:
    """The folder of each split by its name; the folder itself as "" without any."""
    folders, images = _content(folder, tell=False)
    found = {path.name: path for path in folders}
    if not found.keys() & set(SPLITS):
        return {"": folder}
    names = sorted([*found, *(path.name for path in images[:1])])
    require(
        "train" in found and set(names) <= set(SPLITS),
        f"{folder} must hold train and at most validation and test besides, if it holds"
        f" one of them, got {', '.join(names)}; move the others elsewhere",
    )
    return {name: found[name] for name in SPLITS if name in found}


def _by_class(folder: Path) -> dict[str, list[Path]]:
    """The images of each sub-folder by its name; of the folder itself, as ""."""
    folders, images = _content(folder)
    require(
        not (folders and images),
        f"{folder} must hold images or folders of images, got both:"
        f" {folders[0].name if folders else ''} and"
        f" {images[0].name if images else ''}; move one kind elsewhere",
    )
    found = {path.name: _below(path) for path in folders} if folders else {"": images}
    for name, paths in found.items():
        require(
            bool(paths),
            f"{folder / name} must hold images ({', '.join(SUFFIXES)}), got none;"
            " put some there or remove it",
        )
    return found


def _below(folder: Path, depth: int = 0) -> list[Path]:
    """All images of a folder and of those within."""
    require(
        depth < DEEPEST,
        f"{folder} must lie less than {DEEPEST} folders deep, got links in a circle?"
        " Remove it",
    )
    folders, images = _content(folder)
    return images + [path for inner in folders for path in _below(inner, depth + 1)]


def _content(folder: Path, tell: bool = True) -> tuple[list[Path], list[Path]]:
    """The folders and the images in a folder, but for hidden ones, by name.

    Args:
        folder: where to look.
        tell: whether to say how many other files there are.
    """
    visible = sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name != "__MACOSX"
    )
    folders = [path for path in visible if path.is_dir()]
    inner = set(folders)
    files = [path for path in visible if path not in inner]
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    others = len(files) - len(images)
    if others and tell:
        print(f"{folder}: {others} other files are left out", file=sys.stderr)
    return folders, images


def _classes(folder: Path, found: dict[str, dict[str, list[Path]]]) -> list[str]:
    """The names of the classes in the order of their labels; none without classes."""
    train = next(iter(found.values()))
    for part, by_class in found.items():
        unknown = by_class.keys() - train.keys()
        require(
            not unknown and (by_class.keys() == {""}) == (train.keys() == {""}),
            f"{folder / part} must have the classes of the training images,"
            f" {', '.join(sorted(train)) or 'none'}, got"
            f" {', '.join(sorted(by_class)) or 'none'}; move the others elsewhere",
        )
    if train.keys() == {""}:
        return []
    # Folders that are numbered keep their numbers' order: 2 comes before 10.
    numbered = all(re.fullmatch(r"[0-9]+", name) for name in train)
    return sorted(train, key=(lambda name: (int(name), name)) if numbered else None)
