"""Feeds: how the training images come to the devices.

A feed hands out `Batches`, which an update takes without knowing where they are from.
"""

import concurrent.futures
from typing import NamedTuple, Protocol

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from pixelcnn_jax import hosts
from pixelcnn_jax.data import ImageSet, Lazy, batch_order
from pixelcnn_jax.devices import DATA, replicated
from pixelcnn_jax.layers import Conditions
from pixelcnn_jax.memory import room_of
from pixelcnn_jax.training.shares import Shares

# The rest is for weights, the optimizer's moments and activations.
RESIDENT_SHARE = 0.25
"""Of an accelerator's memory, what the training images may fill."""

RESIDENT_BYTES_ON_CPU = 2**31
"""What the copies of the training images on a CPU's devices may fill together."""

SENT_BYTES = 2**27
"""What is sent to the devices at a time when the images do not fit there."""


class Batches(NamedTuple):
    """Some batches of an epoch, on the devices.

    Each device holds images, and of each batch the places of its share among them.
    """

    images: jax.Array
    """Levels or brightness ``[M, H, W, C]``, as many on each device."""
    given: Conditions
    """What each image is conditioned on, ``[M, ...]``."""
    place: jax.Array
    """int32 ``[batches, width]``: where on its device each image lies."""
    image: jax.Array
    """int32 ``[batches, width]``: which image of the set it is; -1: none, padding."""
    first: int
    """The first batch to take."""
    stop: int
    """The batch before which to stop."""

    @property
    def number(self) -> int:
        """How many there are to take."""
        return self.stop - self.first

    def some(self, first: int, count: int) -> "Batches":
        """At most so many of these, of which none was left out, from one on."""
        return self._replace(first=first, stop=min(first + count, self.stop))


class Order:
    """The batches of each epoch, padded to the width that the devices share out."""

    def __init__(self, seed: int, num_images: int, batch_size: int, width: int):
        self.batches = -(-num_images // batch_size)
        self._arguments = (num_images, batch_size)
        self._seed, self._width = seed, width

    def __call__(self, epoch: int) -> np.ndarray:
        """int32 ``[batches, width]``; -1 stands for no image."""
        order = batch_order(self._seed, epoch, *self._arguments)
        # Wider than a batch that does not divide evenly among devices and microbatches.
        filled = np.full((len(order), self._width), -1, np.int32)
        filled[:, : order.shape[1]] = order
        return filled


class Feed(Protocol):
    """Where an update gets its images from."""

    spec: PartitionSpec
    """How `Batches.images` lie on the devices."""

    def __init__(self, images: ImageSet, shares: Shares, order: Order): ...

    def batches(self, epoch: int, start: int, count: int) -> Batches:
        """At most ``count`` batches of an epoch from ``start`` on, at least one."""
        ...

    def close(self) -> None:
        """Nothing more is asked for."""
        ...


def choose_feed(
    images: ImageSet, shares: Shares
) -> type["Resident"] | type["SentAhead"]:
    """`Resident` if the images fit on the devices, else `SentAhead`."""
    room = room_of(shares.device, shares.mesh.size)
    most = RESIDENT_BYTES_ON_CPU if room.there is None else RESIDENT_SHARE * room.there
    # A CPU's devices share one memory, and each holds a copy.
    fits = _bytes(images) * room.sharers <= most
    # All processes must do alike, and their devices need not have as much.
    return SentAhead if hosts.highest(not fits) else Resident


class Resident:
    """All images stay on every device; batches are chosen there."""

    spec = PartitionSpec()

    def __init__(self, images: ImageSet, shares: Shares, order: Order):
        everywhere = replicated(shares.mesh)
        # An array, also of images that were to be read from the disk.
        self._images = hosts.place(np.asarray(images.images), everywhere)
        self._given = hosts.place(conditions_of(images), everywhere)
        self._mesh, self._order = shares.mesh, order
        self._epoch: tuple[int, jax.Array, jax.Array] | None = None

    def batches(self, epoch: int, start: int, count: int) -> Batches:
        # Sent once per epoch: its calls differ only in where they start and stop.
        if self._epoch is None or self._epoch[0] != epoch:
            index = self._order(epoch)
            share = NamedSharding(self._mesh, PartitionSpec(None, DATA))
            # Padding points to image 0, which is computed and counts for nothing.
            placed = hosts.place((np.maximum(index, 0), index), share)
            self._epoch = (epoch, *placed)
        _, place, index = self._epoch
        stop = min(start + count, self._order.batches)
        return Batches(self._images, self._given, place, index, start, stop)

    def close(self) -> None:
        pass


class SentAhead:
    """The images of some batches are sent while those before them are computed.

    Always so many, of which those that are asked for are handed out: there is one
    program, and the next ones to send are known.
    """

    spec = PartitionSpec(DATA)

    def __init__(self, images: ImageSet, shares: Shares, order: Order):
        self._images, self._given = images.images, conditions_of(images)
        self._shares, self._order = shares, order
        batch = _bytes(images.first(1)) * shares.width
        self._rows = min(order.batches, max(1, SENT_BYTES // batch))
        # One thread is enough: only the next part is ever under way.
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._ahead: dict[tuple[int, int], concurrent.futures.Future[Batches]] = {}
        self._sent: tuple[int, int, Batches] | None = None
        """The epoch and the first batch of those that were sent last."""

    def batches(self, epoch: int, start: int, count: int) -> Batches:
        begin, sent = self._sent_with(epoch, start)
        found = sent.some(start - begin, count)
        # The epoch is over, and its figures need the memory; but for one of few
        # batches, which may be asked for again.
        if begin > 0 and begin + found.stop == self._order.batches:
            self._sent = None
        return found

    def _sent_with(self, epoch: int, start: int) -> tuple[int, Batches]:
        """The batches on the devices, this one among them, and the first of them."""
        if self._sent is not None:
            former, begin, found = self._sent
            if former == epoch and begin <= start < begin + found.number:
                return begin, found
        self._sent = None  # those before need not stay on the devices meanwhile
        ahead = self._ahead.pop((epoch, start), None)
        found = self._send(epoch, start) if ahead is None else ahead.result()
        following = (epoch, start + self._rows)
        # What was sent ahead and not asked for, such as before a jump, is of no use.
        self._ahead.clear()
        if following[1] < self._order.batches:
            self._ahead[following] = self._pool.submit(self._send, *following)
        self._sent = epoch, start, found
        return start, found

    def close(self) -> None:
        # Not waited for: what is on its way is of no use any more.
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _send(self, epoch: int, start: int) -> Batches:
        order = self._order(epoch)
        stop = min(start + self._rows, len(order))
        # What the epoch lacks is filled up with a batch that is not taken.
        index = order[np.minimum(np.arange(start, start + self._rows), stop - 1)]
        mesh, share = self._shares.mesh, self._shares.share
        # The images are cut into one piece for each device, so its shares of all these
        # batches must lie together.
        by_device = index.reshape(self._rows, mesh.size, share).swapaxes(0, 1).ravel()
        chosen = np.maximum(by_device, 0)
        # In its piece, a device finds the share of batch after batch.
        place = np.arange(self._rows * share, dtype=np.int32).reshape(-1, share)
        images = self._chosen(self._images, chosen)
        given = jax.tree.map(lambda x: self._chosen(x, chosen), self._given)
        place, index = hosts.place(
            (np.tile(place, mesh.size), index),
            NamedSharding(mesh, PartitionSpec(None, DATA)),
        )
        return Batches(images, given, place, index, 0, stop - start)

    def _chosen(self, items: np.ndarray | Lazy, chosen: np.ndarray) -> jax.Array:
        """Some images or labels, of which a process reads those of its own devices."""

        def read(part: tuple[slice, ...] | None) -> np.ndarray:
            return items[chosen if part is None else chosen[part[0]]]

        shape = (len(chosen), *items.shape[1:])
        sharding = NamedSharding(self._shares.mesh, self.spec)
        return jax.make_array_from_callback(shape, sharding, read)


def conditions_of(images: ImageSet) -> Conditions:
    """What images are conditioned on, in the number types that models read."""
    condition, labels = images.condition, images.labels
    return Conditions(
        None if labels is None else np.asarray(labels, np.int32),
        None if condition is None else np.asarray(condition, np.float32),
        images.condition_map,
    )


def _bytes(images: ImageSet) -> int:
    """That images take with all that is given of them."""
    arrays = jax.tree.leaves((images.images, conditions_of(images)))
    return sum(array.nbytes for array in arrays)
