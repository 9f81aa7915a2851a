"""The conditions of images to draw, from a file."""

import hashlib

import numpy as np

from pixelcnn_jax.commands.image_files import read_arrays
from pixelcnn_jax.errors import require
from pixelcnn_jax.layers import OtherConditions
from pixelcnn_jax.memory import require_memory


def read_given(
    path: str | None, features: int, channels: int, *, optional: bool = False
) -> OtherConditions:
    """What images can be conditioned on besides classes: the rows of a file.

    Args:
        path: the flag ``conditions``.
        features: of the vector that the model takes; 0: none.
        channels: of the map that it takes; 0: none.
        optional: whether it can do without.

    Raises:
        UserError: the file lacks what the model takes, or can't be read.
    """
    sizes = {"condition": features, "condition_map": channels}
    names = [name for name, size in sizes.items() if size]
    require(
        bool(names) == (path is not None) or (optional and path is None),
        "conditions must name a .npz file if the model is conditioned on more than"
        f" classes, here on {' and '.join(names) or 'nothing'}, got {path or 'none'}",
    )
    if path is None:
        return {"condition": None, "condition_map": None}
    arrays = read_arrays("conditions", path, names)
    for name in names:
        shape = arrays[name].shape
        require(
            len(shape) > 0 and shape[0] > 0,
            f"conditions must hold an array {name} of at least one row, got {path} with"
            f" one of shape {list(shape)}",
        )
    return {
        "condition": arrays.get("condition"),
        "condition_map": arrays.get("condition_map"),
    }


def in_turn(given: OtherConditions, count: int) -> OtherConditions:
    """The rows one after another, over and over, for ``count`` images.

    Raises:
        UserError: they would not fit in memory.
    """
    rows = [x for x in (given["condition"], given["condition_map"]) if x is not None]
    # Here, while they are looked at, and as they are kept.
    size = 3 * count * sum(x.nbytes // len(x) for x in rows)
    require_memory(f"the conditions of {count} images", size, "draw fewer")

    def repeated(rows: np.ndarray | None) -> np.ndarray | None:
        return None if rows is None else np.resize(rows, (count, *rows.shape[1:]))

    return {
        "condition": repeated(given["condition"]),
        "condition_map": repeated(given["condition_map"]),
    }


def digest_of(given: OtherConditions) -> str | None:
    """Tells other conditions from these; None if there are none."""
    arrays = [x for x in (given["condition"], given["condition_map"]) if x is not None]
    if not arrays:
        return None
    found = hashlib.sha256()
    for array in arrays:
        found.update(str((array.dtype, array.shape)).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
