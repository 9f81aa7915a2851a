"""Ending a run early, with nothing lost."""

import signal
import threading
from types import FrameType


class StopRequest:
    """Notes SIGINT (Ctrl-C) and SIGTERM, to be obeyed where nothing is lost.

    A context manager; a second signal interrupts at once. Outside the main thread,
    where Python delivers no signals, it notes nothing.
    """

    def __init__(self):
        self.asked = False
        self._old = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def obey(self, state: str) -> None:
        """Raise KeyboardInterrupt, with what has been kept, if a stop was asked for."""
        if self.asked:
            raise KeyboardInterrupt(state)
