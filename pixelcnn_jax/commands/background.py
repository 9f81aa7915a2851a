"""Work that a user can stop at any moment, however long its programs run."""

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

from pixelcnn_jax.training.stopping import StopRequest

T = TypeVar("T")

LISTEN_SECONDS = 0.1
"""Longest time that a request to stop goes unnoticed."""


def in_background(items: Iterator[T], stop: StopRequest) -> Generator[T, None, None]:
    """The items, which a thread makes one ahead; they end early if a stop is asked for.

    To be closed, if it is not taken to its end.

    Python hears signals in its main thread only, and there only between two steps of
    its own: not while a program is compiled or runs.
    """
    found: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(1)
    left = threading.Event()

    def put(more: bool, value: T | BaseException | None) -> None:
        while not left.is_set():
            with contextlib.suppress(queue.Full):
                found.put((more, value), timeout=LISTEN_SECONDS)
                return

    def work() -> None:
        try:
            for item in items:
                put(True, item)
                if left.is_set():
                    return
            put(False, None)
        except BaseException as error:  # raised anew by who waits
            put(False, error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield from _until_the_end(found, stop)
    finally:
        left.set()
        # After a stop the process ends, whatever its threads do.
        if not stop.asked:
            thread.join()


def call_in_background(function: Callable[[], T], stop: StopRequest) -> T:
    """What a function returns, which runs as the items of `in_background` are made.

    Raises:
        Stopped: a stop is asked for meanwhile.
    """
    results = list(in_background((call() for call in (function,)), stop))
    stop.obey("")
    return results[0]


def _until_the_end(
    found: "queue.Queue[tuple[bool, T | BaseException | None]]", stop: StopRequest
) -> Iterator[T]:
    while not stop.asked:
        try:
            more, value = found.get(timeout=LISTEN_SECONDS)
        except queue.Empty:
            continue
        if isinstance(value, BaseException):
            raise value
        if not more:
            return
        yield value  # pyright: ignore[reportReturnType]  # an item, since more
