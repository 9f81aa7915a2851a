"""What a file of images holds beside them: labels, conditions, splits."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pixelcnn_jax.arrays import are_finite
from pixelcnn_jax.data.folders import SPLITS
from pixelcnn_jax.errors import require


def read_beside(
    path: Path, arrays: Mapping[str, np.ndarray], count: int
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """What is given of each image, as an `ImageSet` has it, and the splits.

    Args:
        path: of the file, for messages.
        arrays: by name; ``split`` may be among them.
        count: images in the file.

    Returns:
        The arrays by name, and places in `SPLITS`, int8 ``[N]``; None: there are none.

    Raises:
        UserError: an array has another length, type or range.
    """
    for name, array in arrays.items():
        require(
            array.ndim >= 1 and len(array) == count,
            f"{name} of {path} must have an entry for each of the {count} images, got"
            f" shape {list(array.shape)}",
        )
    read = {"labels": _labels, "condition": _vectors, "condition_map": _maps}
    given = {
        name: read[name](path, array)
        for name, array in arrays.items()
        if name != "split"
    }
    split = arrays.get("split")
    return given, None if split is None else _split(path, split)


def _labels(path: Path, labels: np.ndarray) -> np.ndarray:
    require(
        labels.ndim == 1
        and np.issubdtype(labels.dtype, np.integer)
        and labels.min() >= 0
        and labels.max() < 2**31,
        f"labels of {path} must be integers [N] of at least 0, got {labels.dtype}"
        f" {list(labels.shape)}"
        + (f" from {labels.min()}" if labels.dtype.kind in "iu" else ""),
    )
    return labels.astype(np.int32)


def _vectors(path: Path, vectors: np.ndarray) -> np.ndarray:
    """float32 ``[N, D]``."""
    require(
        vectors.ndim == 2 and vectors.dtype.kind in "iuf" and are_finite(vectors),
        f"condition of {path} must be finite numbers [N, D], got {vectors.dtype}"
        f" {list(vectors.shape)}",
    )
    return vectors.astype(np.float32)


def _maps(path: Path, maps: np.ndarray) -> np.ndarray:
    """``[N, h, w, D]``: int32 codes, or float32."""
    codes = maps.dtype.kind in "iu"
    require(
        maps.ndim == 4
        and maps.size > 0
        and (codes or maps.dtype.kind == "f")
        and (codes or are_finite(maps))
        and (not codes or 0 <= int(maps.min()) <= int(maps.max()) < 2**31),
        f"condition_map of {path} must be finite numbers or codes of at least 0"
        f" [N, h, w, D], got {maps.dtype} {list(maps.shape)}",
    )
    return maps.astype(np.int32 if codes else np.float32)


def _split(path: Path, split: np.ndarray) -> np.ndarray:
    """Places in `SPLITS`, from places or names."""
    rule = (
        f"split of {path} must be [N] of the names {', '.join(SPLITS)}, or of 0, 1, 2"
        " for them, with some for train"
    )
    if split.dtype.kind in "US" and split.ndim == 1:
        names = split
        if split.dtype.kind == "S":  # other bytes are none of the names
            names = np.char.decode(split, "utf-8", "replace")
        known = np.isin(names, SPLITS)
        require(bool(known.all()), f"{rule}, got {names[~known][:1]}")
        split = np.array([SPLITS.index(name) for name in names.tolist()])
    require(
        split.ndim == 1
        and split.dtype.kind in "iu"
        and bool(np.isin(split, (0, 1, 2)).all()),
        f"{rule}, got {split.dtype} {np.unique(split)[:5]}",
    )
    require(bool((split == 0).any()), f"{rule}, got none for it")
    return split.astype(np.int8)
