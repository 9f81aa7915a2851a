"""How far a long job is, and how long it will yet take."""

import contextlib
import time

from tqdm import tqdm

from pixelcnn_jax import hosts

LINE_SECONDS = 30.0
"""Time between lines, if no terminal shows the bar."""


class Progress:
    """A bar on a terminal; elsewhere a line now and then. A context manager.

    Args:
        total: images of the job.
        done: of them, what was there before.
    """

    def __init__(self, total: int, done: int = 0):
        self._total, self._first, self.done = total, done, done
        self._began = self._said = time.monotonic()
        self._bar = tqdm(
            total=total,
            initial=done,
            unit=" images",
            disable=None if hosts.is_first() else True,
            leave=False,
        )

    def add(self, count: int) -> None:
        """More images are done."""
        self.done += count
        self._bar.update(count)
        now = time.monotonic()
        if self._bar.disable and now - self._said > LINE_SECONDS:
            self._said = now
            line = progress_line(
                self.done, self._total, self.done - self._first, now - self._began
            )
            with contextlib.suppress(OSError, ValueError):  # closed or full
                print(line, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()  # takes it away


def progress_line(done: int, total: int, fresh: int, seconds: float) -> str:
    """What there is, the speed at which ``fresh`` of it came, and the time left."""
    speed = fresh / seconds
    left = (total - done) / speed
    return f"{done:,} of {total:,} images, {speed:.1f}/s, {duration(left)} left"


def duration(seconds: float) -> str:
    """Such as "42 s", "12 min", "3 h 05 min"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
