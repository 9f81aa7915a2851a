"""Several processes that work as one, by JAX's own means.

Each runs the same program in step with the others, as `jax.distributed` wants it, on
the devices of its own host. Who calls a function of this module calls it in all
processes. With one process each does what its name says, and nothing more.
"""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from pixelcnn_jax.errors import UserError, require

T = TypeVar("T")


def is_launched(environment: Mapping[str, str]) -> bool:
    """Whether a launcher has started this process as one of several.

    Slurm (``srun``) and Open MPI say so; elsewhere ``JAX_COORDINATOR_ADDRESS``,
    ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID`` do. A pod of TPUs does not.
    """
    counts = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "JAX_NUM_PROCESSES")
    return any(environment.get(name, "1") != "1" for name in counts)


def join(environment: Mapping[str, str] = os.environ) -> None:
    """Join the other processes; before JAX first computes.

    Raises:
        UserError: they are not named, or can't be reached.
    """
    number, count = _integer(environment, "JAX_PROCESS_ID"), None
    if number is not None:
        count = _integer(environment, "JAX_NUM_PROCESSES")
    try:
        # The address is found in the environment, the rest too on Slurm and the like.
        jax.distributed.initialize(num_processes=count, process_id=number)
    except (ValueError, RuntimeError) as error:
        detail = " ".join(str(error).split())
        raise UserError(
            "several processes must find each other by Slurm, Open MPI, a pod of TPUs,"
            " or JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID in the"
            f" environment, and did not ({detail:.300})"
        ) from error


def _integer(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name)
    require(
        text is None or text.isdecimal(),
        f"{name} must be a number of at least 0, got {text}",
    )
    return None if text is None else int(text)


def are_several() -> bool:
    """Whether there are other processes."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Whether this process is the one that writes and speaks for all."""
    return not are_several() or jax.process_index() == 0


def first_says(value: int) -> int:
    """The first process's value."""
    if not are_several():
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def of_first(tree: T) -> T:
    """The first process's arrays, in a pytree that all have."""
    if not are_several():
        return tree
    return jax.tree.map(jnp.asarray, multihost_utils.broadcast_one_to_all(tree))


def highest(value: int) -> int:
    """The highest of all processes' values."""
    if not are_several():
        return value
    return int(np.max(multihost_utils.process_allgather(np.int32(value))))


def require_everywhere(condition: bool, message: str) -> None:
    """Raise ``UserError(message)`` in all processes unless it holds in each."""
    require(highest(not condition) == 0, message)


def by_first(action: Callable[[], T]) -> T | None:
    """Let the first process do something, for which the others wait.

    Returns:
        In the first process what it returned; None in the others.

    Raises:
        UserError: as the first process met it, in all of them.
    """
    if not are_several():
        return action()
    result, mistake = None, ""
    if is_first():
        try:
            result = action()
        except UserError as error:
            mistake = str(error)
    mistake = _told(mistake)
    require(not mistake, mistake)
    return result


def found_by_first(action: Callable[[], T]) -> T:
    """`by_first`, with the result in all processes: what JSON can hold."""
    result = by_first(action)
    return json.loads(_told(json.dumps(result))) if are_several() else result  # pyright: ignore[reportReturnType]  # with one process it is no None


def first_alone(action: Callable[[], T]) -> T:
    """What all processes find, the first before the others: it may fetch what is
    missing, for all to read.

    Raises:
        UserError: as the first process met it, in all of them; or as another met it.
    """
    result = by_first(action)
    return result if is_first() else action()  # pyright: ignore[reportReturnType]  # the first has one


def _told(text: str) -> str:
    """The text of the first process."""
    data = np.frombuffer(text.encode(), np.uint8)
    length = first_says(len(data))
    if not is_first():
        data = np.zeros(length, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(data)).tobytes().decode()


def divided(count: int, compute: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """What the processes compute together, each its share; all of it in each.

    Args:
        count: of the things to compute something of, N.
        compute: an array ``[stop - start, ...]`` of the things from start to stop.

    Returns:
        an array ``[N, ...]``.
    """
    if not are_several():
        return compute(0, count)
    share = -(-count // jax.process_count())
    # Of equal length, since arrays of one shape are gathered. What two processes
    # compute both is the same, and counts once.
    starts = [min(i * share, count - share) for i in range(jax.process_count())]
    start = starts[jax.process_index()]
    gathered = multihost_utils.process_allgather(compute(start, start + share))
    index = np.concatenate([np.arange(x, x + share) for x in starts])
    _, first = np.unique(index, return_index=True)
    return gathered.reshape(-1, *gathered.shape[2:])[first]


def place(tree: Any, sharding: NamedSharding) -> Any:  # as jax.device_put is typed
    """Arrays, the same in all processes, on devices of all processes.

    A process sends what lies on its own devices, and nothing else.
    """
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def one(x):
        if isinstance(x, jax.Array) and x.sharding == sharding:
            return x
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, host.__getitem__)

    return jax.tree.map(one, tree)
