"""One line, in the place of many, when another process of a job is gone.

JAX then ends this one from within, after a page of its own on standard error, and
Python is not asked. So a small process of its own reads what is written there, and
passes it on up to the first sign that another process is lost.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator

LOST = (
    "error: another process of the job has ended, so this one ends too; the same"
    " command goes on"
)

SIGNS = (
    "Gloo all-reduce failed",
    "Gloo all-gather failed",
    "NCCL operation",
    "Timeout waiting at barrier",
    "coordination_service_agent.cc",
    "Use error polling to propagate the following error to all tasks",
    "coordination service",
    "preemption_sync_manager.cc",
    LOST,
)
"""What errors and the log of JAX say of it, and of nothing else."""


def tells_of_loss(text: str) -> bool:
    """Whether a message is about a process that is gone."""
    return any(sign in text for sign in SIGNS)


def summarised(lines: Iterable[str]) -> Iterator[str]:
    """The lines up to one that tells of a loss, in whose place is one of ours."""
    for line in lines:
        if tells_of_loss(line):
            yield LOST + "\n"
            return
        yield line


def summarise_errors() -> None:
    """Let a process of its own read what this one's libraries write on standard error.

    Python's own output goes where it went, so that a terminal still is one.
    """
    reader = subprocess.Popen(
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, text=True
    )
    assert reader.stdin is not None  # a pipe, as asked for
    terminal = os.dup(2)
    os.dup2(reader.stdin.fileno(), 2)
    reader.stdin.close()
    sys.stderr = os.fdopen(terminal, "w", buffering=1)


def say_lost() -> None:
    """Say so, unless it has been said."""
    os.write(2, f"{LOST}\n".encode())


def main() -> None:
    """Read to the end of standard input, whatever signals the terminal sends."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    lines = iter(sys.stdin.readline, "")
    for line in summarised(lines):
        with contextlib.suppress(OSError):  # closed or full
            sys.stderr.write(line)
            sys.stderr.flush()
    for _ in lines:  # or a writer would meet a closed pipe
        pass


if __name__ == "__main__":
    main()
