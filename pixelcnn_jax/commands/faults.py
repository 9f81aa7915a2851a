"""What is no defect of the package: mistakes, and a machine that fails, in one line."""

import errno
import os
import traceback
from pathlib import Path

from pixelcnn_jax.errors import UserError

OF_THE_MACHINE = {
    errno.ENOSPC: "make room and run the command again",
    errno.EDQUOT: "make room and run the command again",
    errno.EFBIG: "raise the limit (ulimit -f) and run the command again",
    errno.EROFS: "pass a place that can be written",
    errno.EACCES: "pass a place that you may use",
    errno.EPERM: "pass a place that you may use",
    errno.EIO: "look at the disk, and run the command again",
    errno.ESTALE: "run the command again once the file system is back",
    errno.ENAMETOOLONG: "pass a shorter name",
    errno.EMFILE: "raise the limit (ulimit -n) and run the command again",
}
"""System errors by their number, and what to do about each."""


def line_of(error: BaseException) -> str | None:
    """The line to show for an error; None for a defect, which needs its traceback."""
    if isinstance(error, UserError):
        return str(error)
    found = str(error)
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
        place = error.filename or "standard output"
        reason = os.strerror(error.errno)
        return str(UserError(f"{place}: {reason}; {OF_THE_MACHINE[error.errno]}"))
    # What JAX raises when a device's memory is full is a RuntimeError.
    full = isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in found
    if isinstance(error, MemoryError) or full:
        return (
            "memory ran out; lower batch_size, or take smaller images or a smaller"
            " model"
        )
    if isinstance(error, RuntimeError) and "Disallowed" in found:
        return (
            "JAX must be allowed to send arrays to its devices, and a transfer guard"
            " (JAX_TRANSFER_GUARD) forbids it; unset it, or set it to log"
        )
    if _is_of_the_backend(error):
        return (
            "JAX must find the devices that JAX_PLATFORMS names, and could not, got"
            f" {os.environ.get('JAX_PLATFORMS', 'nothing')}; unset it, or set it to cpu"
        )
    return None


def _is_of_the_backend(error: BaseException) -> bool:
    """Whether JAX raised it while it looked for devices."""
    # As a RuntimeError or, with some platforms, by a bare assert.
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and Path(frames[-1].filename).name == "xla_bridge.py"
