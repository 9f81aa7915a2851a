"""Images and what belongs to them in .npy and .npz files; nothing is unpickled."""

import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pixelcnn_jax.arrays import is_of_numbers, kind_of, why_unread
from pixelcnn_jax.errors import UserError, require

ARRAYS_OF_A_SET = (
    *("images", "labels", "condition", "condition_map", "split"),
    "levels",  # of codes, as `sample` writes them
)
"""What a .npz file may hold; other arrays are not read."""

MAX_BYTES = 2**33
"""Of the arrays of a .npz file, which is read whole; a .npy file may be of any size."""

SLAB_BYTES = 2**26
"""What is looked at or converted at a time."""

Opens = Callable[[], np.ndarray]
"""Gives an array, perhaps mapped from a file, to be let go of after use."""


def open_arrays(path: Path) -> tuple[Opens, dict[str, np.ndarray]]:
    """The images of a file, and the arrays beside them by name.

    A .npy file is mapped into memory at each use and let go afterwards, so that what
    was read once does not stay.

    Raises:
        UserError: it is no such file, is damaged, or holds objects.
    """
    require(
        path.is_file() and stat.S_ISREG(path.stat().st_mode),
        f"{path} must be a file, got a pipe or a device; remove it",
    )
    if path.suffix.lower() == ".npy":
        images = _careful(path, lambda: np.load(path, "r", allow_pickle=False))
        require(isinstance(images, np.ndarray), f"{path} must be a .npy file")
        if not isinstance(images, np.memmap):  # as empty ones are not
            return lambda: images, {}
        dtype, shape, offset = images.dtype, images.shape, images.offset
        order = "C" if images.flags.c_contiguous else "F"
        return lambda: np.memmap(path, dtype, "r", offset, shape, order), {}
    found = _careful(path, lambda: _read_archive(path))
    require(
        "images" in found,
        f"{path} must hold an array named images, got"
        f" {', '.join(found) or 'none of those it may hold'}",
    )
    images = found.pop("images")
    return lambda: images, found


def _read_archive(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    require(
        size <= MAX_BYTES,
        f"{path} must hold at most {MAX_BYTES} bytes, since it is read whole, got"
        f" {size}; save the images as a .npy file",
    )
    with np.load(path, allow_pickle=False) as archive:
        found = {name: archive[name] for name in ARRAYS_OF_A_SET if name in archive}
    for name, array in found.items():
        is_text = isinstance(array, np.ndarray) and array.dtype.kind in "US"
        require(
            is_of_numbers(array) or (is_text and name == "split"),
            f"{name} of {path} must be an array of numbers, got {kind_of(array)}; save"
            " it again",
        )
    return found


def _careful(path: Path, read: Callable):
    try:
        # A size that is claimed may not be one that NumPy can count.
        with np.errstate(over="ignore"):
            return read()
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(
            f"{path} must fit in memory, got: {error or 'more than is free'}; save it"
            " again, or the images alone as a .npy file, which need not fit"
        ) from error
    except Exception as error:  # NumPy raises whatever damaged files make it meet
        raise UserError(
            f"{path} must be a .npy or .npz file of numbers, got: {why_unread(error)};"
            " save it again"
        ) from error


def slabs(count: int, image_bytes: int) -> Iterator[slice]:
    """Slices over ``count`` images that hold `SLAB_BYTES` each."""
    step = max(1, SLAB_BYTES // max(1, image_bytes))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def value_range(opens: Opens, enough: int | None = None) -> tuple[int, int]:
    """The least and the largest value of an array of integers, a slab at a time.

    Args:
        opens: the array, not empty.
        enough: no more is looked at once the largest value is above this.
    """
    shape = opens().shape
    low, high = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    for part in slabs(shape[0], opens()[:1].nbytes):
        slab = opens()[part]
        low, high = min(low, int(slab.min())), max(high, int(slab.max()))
        if enough is not None and high > enough:
            break
    return low, high
