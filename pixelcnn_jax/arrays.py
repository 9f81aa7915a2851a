"""What arrays of NumPy hold, and how large those of images may be."""

import numpy as np

LONGEST_SIDE = 2**15 - 1
"""Of an image, so that a position ``row * W + column`` fits in 32 bits."""


def is_of_numbers(value: object) -> bool:
    """Whether it is an array of truth values, integers or floats."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"


def kind_of(value: object) -> str:
    """What an array holds, in a word; members of an archive may be no arrays."""
    return str(value.dtype) if isinstance(value, np.ndarray) else "something else"


def why_unread(error: Exception) -> str:
    """Why NumPy could not read a file, without its advice, which is to unpickle it."""
    detail = " ".join(str(error).split()) or type(error).__name__
    if "Object arrays" in detail or "Python objects" in detail:
        return "Python objects"
    return "another kind of file" if "pickle" in detail else detail


def are_finite(values: np.ndarray) -> bool:
    """Whether all are finite numbers as float32."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(values.astype(np.float32)).all())
