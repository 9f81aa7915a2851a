"""Pytrees of arrays in a folder: all that knows of Orbax."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1

from pixelcnn_jax import hosts
from pixelcnn_jax.devices import all_devices, data_mesh, replicated
from pixelcnn_jax.errors import UserError
from pixelcnn_jax.files import write_text
from pixelcnn_jax.models import legacy
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.params import to_params
from pixelcnn_jax.quiet import QUIET

ocp: Any = v1  # Any: its annotations do not hold for trees of abstract arrays

Items: TypeAlias = dict[str, Any]
"""Pytrees by name; Any, since each item has its own structure."""

UNFINISHED = "*.orbax-checkpoint-tmp*"
"""What a save that was interrupted leaves beside the folder."""

COMMITTED = "commit_success.txt"
"""The file that Orbax leaves in what it has saved whole."""


def save(folder: Path, items: Mapping[str, object]) -> None:
    """Save pytrees of arrays; all processes that work as one call this."""
    # Of a failure Orbax logs each thread; the error tells of it.
    with QUIET:
        ocp.save_checkpointables(folder.resolve(), dict(items), overwrite=True)


def forget_machine(folder: Path) -> None:
    """Remove from what was saved what Orbax tells of the machine."""
    for path in folder.rglob(COMMITTED):
        # Only that it is there counts.
        write_text(path, "The checkpoint was committed.\n")


def load(folder: Path, items: Mapping[str, object]) -> Items:
    """What `save` has saved.

    Args:
        folder: of whole files.
        items: pytrees like those saved; shapes and types are what counts.

    Raises:
        UserError: the saved ones have others, or the system fails to read them.
    """
    # Onto one device, however many wrote it; the trainer spreads it again.
    sharding = jax.sharding.SingleDeviceSharding(all_devices()[0])
    if hosts.are_several():
        sharding = replicated(data_mesh(jax.devices()))
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        dict(items),
    )
    try:
        with QUIET:
            found = ocp.load_checkpointables(folder.resolve(), abstract)
        # Of several processes, each goes on with arrays of its own.
        return jax.tree.map(_own, found) if hosts.are_several() else found
    except MemoryError:
        raise
    except Exception as error:
        # Orbax wraps what the system says, in the same errors as other shapes.
        number = error_number(error)
        if number is not None:
            raise UserError(
                f"the checkpoint {folder} could not be read ({os.strerror(number)});"
                " mend that and try again"
            ) from error
        # The latter: a device's memory is full.
        if isinstance(error, OSError) or "RESOURCE_EXHAUSTED" in str(error):
            raise
        # Its files are whole, so it is one of other shapes; Orbax says so in pages.
        raise UserError(
            f"the checkpoint {folder} must have the parameters of the settings, and has"
            " others; restore config.json beside it"
        ) from error


def load_old(folder: Path, items: Mapping[str, object], model: PixelModel) -> Items:
    """`load`, of what version 0.1.0 saved.

    Parameters, Adam's moments and the EMA weights are all stored alike, by the old
    names, and converted alike.
    """
    new_names, old = to_params(model)[1].keys(), legacy.old_shapes(model)

    def is_new(tree: object) -> bool:
        return isinstance(tree, dict) and tree.keys() == new_names

    def is_old(tree: object) -> bool:
        return isinstance(tree, dict) and tree.keys() == old.keys()

    abstract = jax.tree.map(
        lambda x: old if is_new(x) else x, dict(items), is_leaf=is_new
    )
    return jax.tree.map(
        lambda x: legacy.convert(model, x) if is_old(x) else x,
        load(folder, abstract),
        is_leaf=is_old,
    )


def error_number(error: BaseException) -> int | None:
    """The number of the system's error that caused this one, if one did."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return cause.errno
        # Orbax's library of arrays only tells it in its text.
        found = re.search(r"os_error_code='(\d+)'", str(cause))
        if found is not None:
            return int(found[1])
        cause = cause.__cause__ or cause.__context__
    return None


def _own(x: jax.Array) -> jax.Array:
    """Of an array that is on every device of all processes, that of this one."""
    return jnp.array(np.asarray(x.addressable_data(0)))
