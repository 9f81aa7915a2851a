"""The feed of batches from elsewhere; see `data.BatchSource`."""

import concurrent.futures
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from pixelcnn_jax import hosts
from pixelcnn_jax.data import BatchReader, ImageSet
from pixelcnn_jax.devices import DATA
from pixelcnn_jax.errors import require
from pixelcnn_jax.training.feed import SENT_BYTES, Batches, conditions_of
from pixelcnn_jax.training.shares import Shares


class Stream(NamedTuple):
    """Batches without end, cut into epochs."""

    reader: BatchReader
    batches: int
    """Of an epoch."""
    suited: Callable[[ImageSet], ImageSet]
    """A batch as the model takes it; raises UserError if it can't be."""
    kept: bool
    """Whether the reader's position is kept, for which its source must then tell it."""


class _Sent(NamedTuple):
    """Batches on the devices."""

    batches: Batches
    positions: list[str | None]
    """Of the source, after each of them."""


class Streamed:
    """Reads and sends some batches while those before them are computed.

    A `feed.Feed` that only goes forward. One thread reads, whoever asks.
    """

    spec = PartitionSpec(DATA)

    def __init__(self, stream: Stream, shares: Shares, batch_size: int):
        self._stream, self._shares, self._size = stream, shares, batch_size
        self._dtype = stream.suited(stream.reader.peek()).images.dtype
        batch = stream.reader.peek().images[:1].nbytes * shares.width
        self._rows = min(stream.batches, max(1, SENT_BYTES // batch))
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._ahead: concurrent.futures.Future[_Sent] | None = None
        self._sent: _Sent | None = None
        self._taken = 0
        """Batches of those that were handed out."""
        self.position: str | None = None
        """Of the source, after the batches handed out so far."""

    def batches(self, epoch: int, start: int, count: int) -> Batches:
        """The next ones, which an epoch at ``start`` has left."""
        if self._sent is None or self._taken == self._sent.batches.number:
            self._sent = None  # those before need not stay on the devices meanwhile
            asked = self._ahead or self._pool.submit(self._read, start)
            self._sent, self._taken = asked.result(), 0
            following = start + self._sent.batches.number
            # None of the next epoch, which may never come.
            more = following < self._stream.batches
            self._ahead = self._pool.submit(self._read, following) if more else None
        found = self._sent.batches.some(self._taken, count)
        self._taken = found.stop
        self.position = self._sent.positions[found.stop - 1]
        if self._ahead is None and self._taken == self._sent.batches.number:
            self._sent = None  # the epoch is over, and its figures need the memory
        return found

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, start: int) -> "_Sent":
        """The batches of an epoch from ``start`` on."""
        number = min(self._rows, self._stream.batches - start)
        sets, positions = [], []
        for _ in range(number):
            sets.append(self._next())
            reader = self._stream.reader
            positions.append(reader.position() if self._stream.kept else None)
        width, share = self._shares.width, self._shares.share
        index = np.full((self._rows, width), -1, np.int32)
        index[:number, : self._size] = np.arange(self._size)
        mesh = self._shares.mesh

        def arranged(arrays: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
            # Zeros fill up what is no image. The shares of a device lie together.
            filled = np.zeros((self._rows, width, *arrays[0].shape[1:]), dtype)
            for row, array in enumerate(arrays):
                filled[row, : self._size] = array
            cut = filled.reshape(self._rows, mesh.size, share, *filled.shape[2:])
            return cut.swapaxes(0, 1).reshape(-1, *filled.shape[2:])

        images = arranged([np.asarray(x.images) for x in sets], self._dtype)
        given = jax.tree.map(
            lambda *arrays: arranged(list(arrays), arrays[0].dtype),
            *map(conditions_of, sets),
        )
        place = np.arange(self._rows * share, dtype=np.int32).reshape(-1, share)
        images, given = hosts.place((images, given), NamedSharding(mesh, self.spec))
        place, index = hosts.place(
            (np.tile(place, mesh.size), index),
            NamedSharding(mesh, PartitionSpec(None, DATA)),
        )
        return _Sent(Batches(images, given, place, index, 0, number), positions)

    def _next(self) -> ImageSet:
        found = self._stream.suited(self._stream.reader.next())
        require(
            len(found) == self._size,
            f"each batch must hold training.batch_size images, {self._size}, got"
            f" {len(found)}; let the source drop what is left over",
        )
        return found
