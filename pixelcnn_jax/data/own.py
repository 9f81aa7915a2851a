"""Images of your own: what is in a folder or a file, before anything is converted."""

import dataclasses
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from pixelcnn_jax.arrays import kind_of
from pixelcnn_jax.config import DataConfig
from pixelcnn_jax.data import fingerprints
from pixelcnn_jax.data.array_files import Opens, open_arrays, value_range
from pixelcnn_jax.data.beside import read_beside
from pixelcnn_jax.data.decoding import read_header, read_pixels
from pixelcnn_jax.data.folders import listing
from pixelcnn_jax.errors import UserError, require

DARKEST = 31
"""Brightness, of 255: images of no more are likely to be levels."""


class Pixels(Protocol):
    """The images of a place, by their rows."""

    sizes: np.ndarray
    """int ``[N, 2]``: height and width of each."""
    channels: int
    """Of the images; in a folder, the most that one has."""
    levels: int
    """Values that a channel can take, 256 of 8 bits."""
    codes: bool
    """Whether the values are codes, to be left as they are."""

    def read(self, rows: np.ndarray) -> Sequence[np.ndarray] | np.ndarray:
        """Some images, each ``[H, W, C]``, together one array if it is one there."""
        ...

    def name(self, row: int) -> str:
        """What to call an image in a message."""
        ...

    def fingerprint(self, place: Path) -> str:
        """What tells what is at this place from others."""
        ...


class Files:
    """Image files."""

    codes = False

    def __init__(self, paths: list[Path]):
        headers = [read_header(path) for path in paths]
        self._paths = paths
        self.sizes = np.array([header[:2] for header in headers])
        self.channels = max(header.channels for header in headers)
        self._deep = any(header.deep for header in headers)
        self.levels = 2**16 if self._deep else 2**8
        alpha = sum(header.alpha for header in headers)
        if alpha:
            print(
                f"the transparency of {alpha} images is dropped, such as that of"
                f" {paths[[header.alpha for header in headers].index(True)]}",
                file=sys.stderr,
            )

    def read(self, rows: np.ndarray) -> list[np.ndarray]:
        return [self._one(self._paths[row], self.sizes[row]) for row in rows]

    def _one(self, path: Path, size: np.ndarray) -> np.ndarray:
        pixels = read_pixels(path)
        height, width = pixels.shape[:2]
        require(
            (height, width) == tuple(size),
            f"{path} must be as large as its header said, {size[0]} x {size[1]}, got"
            f" {height} x {width}; save it again, and leave it as it is meanwhile",
        )
        if self._deep and pixels.dtype == np.uint8:
            return pixels.astype(np.uint16) * 257  # 255 becomes 65,535
        return pixels

    def name(self, row: int) -> str:
        return str(self._paths[row])

    def fingerprint(self, place: Path) -> str:
        return fingerprints.of_folder(place, self._paths)


class Rows:
    """The images of an array of integers ``[N, H, W]`` or ``[N, H, W, C]``."""

    def __init__(
        self,
        path: Path,
        opens: Opens,
        values: Literal["auto", "pixels", "codes"],
        levels: int | None = None,
    ):
        """Of a file that may say how many levels its codes have."""
        images = opens()
        require(
            images.ndim in (3, 4) and images.size > 0,
            f"{path} must hold images [N, H, W] or [N, H, W, C], at least one, got"
            f" shape {list(images.shape)}",
        )
        require(
            images.dtype.kind in "biu",
            f"{path} must hold integers, got {images.dtype}; round them to 8 bits"
            " (numpy.uint8) or to codes",
        )
        self._path, self._opens, shape = path, opens, images.shape
        self.sizes = np.broadcast_to(np.array(shape[1:3]), (shape[0], 2))
        self.channels = shape[3] if len(shape) == 4 else 1
        self.codes, self.levels = self._meaning(images.dtype, values, levels)

    def _meaning(
        self, dtype: np.dtype, values: str, levels: int | None
    ) -> tuple[bool, int]:
        """Whether they are codes, and how many values they can take."""
        bits = {np.dtype(np.uint8): 2**8, np.dtype(np.uint16): 2**16}
        if values == "pixels":
            require(
                dtype.newbyteorder("=") in bits,
                f"{self._path} must hold uint8 or uint16 if data.values is pixels, got"
                f" {dtype}; convert them",
            )
            return False, bits[dtype.newbyteorder("=")]
        if values == "auto" and dtype == np.uint8 and levels is None:
            high = value_range(self._opens, enough=DARKEST)[1]
            if high <= 1:  # no shades of black
                return True, 2
            if high <= DARKEST:
                print(
                    f"{self._path}: its values, 0 to {high}, are taken as brightness of"
                    " 255 at most; save them as int32 if they are levels",
                    file=sys.stderr,
                )
            return False, 2**8
        if dtype.kind == "b":
            return True, 2
        low, high = value_range(self._opens)
        require(
            low >= 0,
            f"{self._path} must hold codes of at least 0, got {low}; add {-low}",
        )
        require(
            levels is None or high < levels,
            f"{self._path} must hold levels below its levels, {levels}, got {high};"
            " leave levels out or set it right",
        )
        return True, levels or max(2, high + 1)

    def read(self, rows: np.ndarray) -> np.ndarray:
        images = self._opens()[rows]
        images = images.view(np.uint8) if images.dtype.kind == "b" else images
        return images if images.ndim == 4 else images[..., None]

    def name(self, row: int) -> str:
        return f"image {row} of {self._path}"

    def fingerprint(self, place: Path) -> str:
        return fingerprints.of_file(place)


@dataclasses.dataclass(frozen=True)
class OwnData:
    """What is at `DataConfig.path`."""

    path: str
    pixels: Pixels
    given: Mapping[str, np.ndarray]
    """What is given of each image besides, as an `ImageSet` has it, by its name."""
    split: np.ndarray | None
    """int8 ``[N]``, places in `SPLITS`; None: the data come without."""
    classes: tuple[str, ...] = ()
    """The names that labels are places in; none if these are not of folders."""

    def __len__(self) -> int:
        return len(self.pixels.sizes)

    @functools.cached_property
    def fingerprint(self) -> str:
        """What tells these images from others; see `DataConfig.fingerprint`."""
        return self.pixels.fingerprint(Path(self.path))

    @property
    def num_classes(self) -> int:
        """How many there are; by their labels, the largest + 1; 0 without any."""
        if self.classes:
            return len(self.classes)
        labels = self.given.get("labels")
        return 0 if labels is None else int(labels.max()) + 1

    def conditions(self) -> dict[str, int]:
        """The settings of a model that takes all that is given of the images."""
        vector, grid = self.given.get("condition"), self.given.get("condition_map")
        levels = 0
        if grid is not None and grid.dtype == np.int32:
            levels = int(grid.max()) + 1
        return {
            "num_classes": self.num_classes,
            "condition_features": 0 if vector is None else vector.shape[1],
            "condition_channels": 0 if grid is None else grid.shape[3],
            "condition_levels": levels,
        }

    def common_size(self) -> tuple[int, int]:
        """The height and width that most images have; of several, the smallest."""
        if self.least_size() == self.greatest_size():
            return self.least_size()  # of a file's images, which may be many
        sizes = self.pixels.sizes
        # Sorted by height, then width: of equal counts the first is the smallest.
        found, counts = np.unique(sizes, axis=0, return_counts=True)
        height, width = found[counts.argmax()].tolist()
        return height, width

    def greatest_size(self) -> tuple[int, int]:
        """The height and width that every image has at most."""
        height, width = self.pixels.sizes.max(axis=0).tolist()
        return height, width

    def least_size(self) -> tuple[int, int]:
        """The height and width that every image has at least."""
        height, width = self.pixels.sizes.min(axis=0).tolist()
        return height, width


def open_own(data: DataConfig) -> OwnData:
    """What is at ``data.path``, which is looked at, and read later.

    Raises:
        UserError: nothing is there, or nothing that can be learnt; it names the file.
    """
    require(
        data.path is not None,
        "data.path must name a folder of images, a .npy or a .npz file for data.source"
        " images, got none; pass it",
    )
    rule = "data.path must be a folder of images, a .npy or a .npz file"
    try:
        path = Path(str(data.path)).expanduser()
        path.stat()
    except (OSError, RuntimeError) as error:  # RuntimeError: the home of nobody
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{rule}, got {data.path} ({reason}); pass one that is there"
        ) from error
    if path.is_dir():
        require(
            data.values != "codes",
            f"data.values codes needs a .npy or .npz file, got the folder {data.path};"
            " save the codes as an array [N, H, W]",
        )
        return _folder(path, data.classes)
    require(
        path.suffix.lower() in (".npy", ".npz"),
        f"{rule}, got {data.path}; put images into a folder",
    )
    return _file(path, data)


def _folder(path: Path, known: tuple[str, ...]) -> OwnData:
    found = listing(path, known)
    if found.classes:
        names = [f"{label} {name}" for label, name in enumerate(found.classes)]
        print(f"{path}: the classes are {', '.join(names)}", file=sys.stderr)
    given = {} if found.labels is None else {"labels": found.labels}
    pixels, classes = Files(found.paths), tuple(found.classes)
    return OwnData(str(path), pixels, given, found.split, classes)


def _levels(path: Path, found: np.ndarray | None) -> int | None:
    """How many levels a file says that its images have, as `sample` writes it."""
    if found is None:
        return None
    require(
        found.ndim == 0 and found.dtype.kind in "iu" and 2 <= int(found) <= 2**16,
        f"levels of {path} must be one integer from 2 to {2**16}, got {kind_of(found)}"
        f" {found!s:.40}; leave it out",
    )
    return int(found)


def _file(path: Path, data: DataConfig) -> OwnData:
    opens, beside = open_arrays(path)
    pixels = Rows(path, opens, data.values, _levels(path, beside.pop("levels", None)))
    given, split = read_beside(path, beside, len(pixels.sizes))
    return OwnData(str(path), pixels, given, split)
