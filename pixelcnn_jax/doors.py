"""The doors of the command lines: how a process begins.

What the commands import takes seconds, in which a Ctrl-C ends the process and nothing
else.
"""

import contextlib
import signal
from collections.abc import Iterator


def main() -> None:
    """The console script, and ``python -m pixelcnn_jax``."""
    with _stoppable():
        from pixelcnn_jax.commands import main as commands
    commands.main()


def door(name: str) -> None:
    """Run a command as ``python train.py`` and the like do."""
    with _stoppable():
        from pixelcnn_jax.commands import main as commands
    commands.door(commands.COMMANDS[name])


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Ctrl-C ends the process at once, without a traceback, unless it is ignored."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, handler)
