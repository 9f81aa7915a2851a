"""The files in a folder of samples: shards of many images, or a picture of each."""

import io
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from pixelcnn_jax import pictures
from pixelcnn_jax.commands.image_files import read_arrays, write, write_images
from pixelcnn_jax.commands.sample_folder import Gap, Store
from pixelcnn_jax.errors import UserError, require

SHARD_IMAGES = 10_000
SHARD_BYTES = 2**26
"""The most images of a shard, and the most bytes that they take in memory."""

FLUSH_SECONDS = 120.0
"""Longest time between writes of a shard that is not yet full."""


def small_type(levels: int) -> type[np.unsignedinteger] | type[np.int32]:
    """The smallest type of integers for these levels."""
    if levels <= 2**8:
        return np.uint8
    return np.uint16 if levels <= 2**16 else np.int32


class Shards:
    """Files ``images_0000000.npz`` or ``.npy``, numbered by their first image.

    All but the last hold as many images. One that is not full yet is written from time
    to time, and whole each time, so that no file is ever half a file.

    Args:
        folder: where.
        suffix: ".npz", with ``images``, ``levels`` and, if there are any, ``labels``;
            or ".npy".
        shape: of an image, ``[H, W, C]``.
        levels: that a channel can take.
        labels: the class of each image of the job, or None.
    """

    def __init__(
        self,
        folder: Path,
        suffix: str,
        shape: tuple[int, ...],
        levels: int,
        labels: np.ndarray | None,
    ):
        self._folder, self._suffix, self._shape = folder, suffix, shape
        self._levels, self._labels = levels, labels
        self._type = small_type(levels)
        size = int(np.prod(shape)) * np.dtype(self._type).itemsize
        self.size = max(1, min(SHARD_IMAGES, SHARD_BYTES // size))
        """Images of a shard."""
        self._first, self._parts = 0, []
        self._written = time.monotonic()

    def path(self, first: int) -> Path:
        return self._folder / f"images_{first:07d}{self._suffix}"

    def gaps(self, num_images: int) -> list[Gap]:
        names = f"images_*{self._suffix}"
        numbers = (x.stem.removeprefix("images_") for x in self._folder.glob(names))
        firsts = sorted(int(x) for x in numbers if x.isdecimal())
        return _gaps(
            [(x, x + len(self._read(x))) for x in firsts if x % self.size == 0],
            num_images,
        )

    def add(self, first: int, images: np.ndarray) -> None:
        while len(images):
            shard = first - first % self.size
            if not self._parts:
                self._first, self._parts = shard, [self._read(shard)]
            rest = images[: shard + self.size - first]
            self._parts.append(rest.astype(self._type))
            first, images = first + len(rest), images[len(rest) :]
            due = time.monotonic() - self._written > FLUSH_SECONDS
            if first == shard + self.size or due:
                self.flush()

    def flush(self) -> None:
        """Put all on disk."""
        if not self._parts:
            return
        images = np.concatenate(self._parts)
        labels = self._labels
        if labels is not None:
            labels = labels[self._first : self._first + len(images)]
        write_images(self.path(self._first), images, self._levels, labels)
        self._written = time.monotonic()
        # A full one is done with.
        self._parts = [] if len(images) == self.size else [images]

    def _read(self, first: int) -> np.ndarray:
        """What the shard of this first image has."""
        path = self.path(first)
        if not path.exists():
            return np.zeros((0, *self._shape), self._type)
        try:
            images = read_arrays("output", str(path), ("images",))["images"]
        except UserError as error:
            raise UserError(f"{error}; move it elsewhere, to draw it anew") from error
        require(
            images.shape[1:] == self._shape and images.dtype == self._type,
            f"{path} must hold {self._type.__name__} images {list(self._shape)}, got"
            f" {images.dtype} {list(images.shape[1:])}; move it elsewhere",
        )
        return images[: self.size]


class Pictures:
    """A file for each image, ``0000000.png``; in a folder per class if it has one.

    Arguments as of `Shards`.
    """

    def __init__(self, folder: Path, levels: int, labels: np.ndarray | None):
        self._folder, self._levels, self._labels = folder, levels, labels

    def path(self, index: int) -> Path:
        name = f"{index:07d}.png"
        if self._labels is None:
            return self._folder / name
        return self._folder / str(self._labels[index]) / name

    def gaps(self, num_images: int) -> list[Gap]:
        there = {int(x.stem) for x in self._folder.rglob("*.png") if x.stem.isdecimal()}
        return _gaps([(index, index + 1) for index in sorted(there)], num_images)

    def add(self, first: int, images: np.ndarray) -> None:
        for index, pixels in enumerate(pictures.to_pixels(images, self._levels), first):
            path, file = self.path(index), io.BytesIO()
            path.parent.mkdir(exist_ok=True)
            # Pillow wants grey without an axis for its channel.
            picture = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
            Image.fromarray(picture).save(file, "png")
            write(path, file.getvalue())

    def flush(self) -> None:
        pass


def _gaps(there: Iterable[tuple[int, int]], num_images: int) -> list[Gap]:
    """What lies between the ranges of images that are there, given in order.

    It takes the time of those, not of all images.
    """
    found: list[Gap] = []
    begin = 0
    for first, stop in [*there, (num_images, num_images)]:
        first = min(first, num_images)
        if begin < first:
            found.append((begin, first))
        begin = max(begin, stop)
    return found


def make_store(
    folder: Path,
    files: str,
    shape: tuple[int, ...],
    levels: int,
    labels: np.ndarray | None,
) -> Store:
    """Where the images of a folder go.

    Args:
        folder, shape, levels, labels: see `Shards`.
        files: "npz", "npy" or "png".

    Raises:
        UserError: images that no picture can hold.
    """
    if files != "png":
        return Shards(folder, f".{files}", shape, levels, labels)
    require(
        shape[-1] in (1, 3),
        f"format png needs images of 1 or 3 channels, got {shape[-1]}; take npz",
    )
    return Pictures(folder, levels, labels)
