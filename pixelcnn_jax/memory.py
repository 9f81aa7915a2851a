"""What a machine can hold: a word before it is asked for more."""

import functools
import os
from typing import Any, NamedTuple

import jax

from pixelcnn_jax.cgroups import memory_limit
from pixelcnn_jax.errors import require

UNKNOWN = 2**40
"""Bytes that a machine is taken to have if it does not tell."""


def memory_bytes() -> int:
    """The machine's main memory, or what a container may use of it."""
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        there = UNKNOWN
    return min(there, _limit() or there)


@functools.cache
def _limit() -> int | None:
    # Once: checks are made at each call, and this reads files.
    return memory_limit()


def bytes_of(tree: object) -> int:
    """What a pytree of arrays, or of their shapes and types, takes."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


class Room(NamedTuple):
    """The memory that a device computes in."""

    sharers: int
    """Devices that have it together: all of a CPU's."""
    there: int | None
    """Its bytes; None: the machine's main memory."""


# Any: JAX has no name for a device's type that checkers accept.
def room_of(device: Any, together: int = 1) -> Room:
    """That of a device of this process, of so many that work together."""
    if device.platform == "cpu":
        return Room(together, None)
    return Room(1, (device.memory_stats() or {}).get("bytes_limit", UNKNOWN))


def require_memory(
    what: str, size: int, cure: str, *, there: int | None = None
) -> None:
    """Raise unless ``size`` bytes fit in memory.

    Args:
        what: what they are for, such as "the model's weights".
        cure: what to do about it.
        there: bytes of memory; None: the machine's.
    """
    there = memory_bytes() if there is None else there
    require(
        size <= there,
        f"{what} must fit in memory, {there / 2**30:.3g} GiB, and would take"
        f" {size / 2**30:.3g} GiB; {cure}",
    )
