"""Ending a run early, with nothing lost."""

import signal
import threading
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A training that was stopped; its text says what has been kept."""

    def __init__(self, kept: str, number: int):
        super().__init__(kept)
        self.number = number
        """The signal that stopped it."""


class StopRequest:
    """Notes SIGINT (Ctrl-C), SIGTERM and SIGHUP, to be obeyed where nothing is lost.

    A context manager; a second signal to this process interrupts at once. Signals that
    are ignored, as under nohup, stay so. Outside the main thread, where Python delivers
    no signals, it notes nothing.
    """

    NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # not every system has all

    def __init__(self):
        self._number: int | None = None
        self._noted = False
        self._old = {}

    @property
    def number(self) -> int:
        """The signal that asked for a stop; 0 if none did."""
        return self._number or 0

    def hear(self, number: int) -> None:
        """Take a stop that another process was asked for as one's own; 0: none."""
        self._number = self._number or number or None

    @property
    def asked(self) -> bool:
        """Whether a stop was asked for."""
        return self._number is not None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for name in self.NAMES:
                number = getattr(signal, name, None)
                if number and signal.getsignal(number) is not signal.SIG_IGN:
                    self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # The first may have reached another process before, and be under way here.
        if self._noted:
            raise Stopped("", number)
        self._noted = True
        self._number = self._number or number

    def obey(self, kept: str) -> None:
        """Raise `Stopped`, with what has been kept, if a stop was asked for."""
        if self._number is not None:
            raise Stopped(kept, self._number)
