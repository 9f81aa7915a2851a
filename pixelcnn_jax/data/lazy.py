"""Images that are read as they are asked for, in the place of an array."""

from collections.abc import Callable

import numpy as np

Read = Callable[[np.ndarray], np.ndarray]
"""The images ``[n, H, W, C]`` of some rows of a set."""


class Lazy:
    """Stands for an array ``[N, H, W, C]`` that may be larger than the memory.

    Taking some of its images, by a slice or by their places, reads those and gives an
    array.

    Args:
        read: reads images by their rows where they are kept.
        rows: int ``[N]``, the row of each image.
        shape: of an image, ``[H, W, C]``.
        dtype: of the values that ``read`` gives.
    """

    ndim = 4

    def __init__(
        self,
        read: Read,
        rows: np.ndarray,
        shape: tuple[int, int, int],
        dtype: np.dtype,
    ):
        self.rows, self.dtype = rows, dtype
        self.shape = (len(rows), *shape)
        self._read = read

    @property
    def nbytes(self) -> int:
        """What the whole array would fill."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        return self._read(self.rows[index])

    def __array__(self, dtype: object = None, copy: bool | None = None) -> np.ndarray:
        return self[:]

    def mapped(self, change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> "Lazy":
        """The same after a change of images ``[n, H, W, C]``, given with their rows."""
        shape = (self.shape[1], self.shape[2], self.shape[3])

        def read(rows: np.ndarray) -> np.ndarray:
            return change(self._read(rows), rows)

        return Lazy(read, self.rows, shape, self.dtype)
