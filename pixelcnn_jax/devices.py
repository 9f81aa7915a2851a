"""Spreading a batch of images over devices."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

DATA = "data"
"""Name of the mesh axis over which images are spread."""


def data_mesh(devices: Sequence[Any]) -> Mesh:
    """A mesh of these devices with the one axis `DATA`."""
    return jax.make_mesh(
        (len(devices),), (DATA,), axis_types=(AxisType.Auto,), devices=devices
    )


def mesh_for(params: Any, batch_size: int, *others: Any) -> Mesh | None:
    """The devices of the parameters' kind, as many as a batch keeps busy.

    None where there is but one, where the caller has spread the parameters over several
    already, or under a transformation, where placing things is the caller's business.
    """
    if any(isinstance(x, Tracer) for x in jax.tree.leaves((params, others))):
        return None
    home = jnp.asarray(jax.tree.leaves(params)[0]).devices()
    devices = jax.local_devices(backend=next(iter(home)).platform)[:batch_size]
    return data_mesh(devices) if len(devices) > 1 and len(home) == 1 else None


def replicated(mesh: Mesh) -> NamedSharding:
    """Everything on every device."""
    return NamedSharding(mesh, PartitionSpec())


class _Copies:
    """The last parameters that were put on a mesh, so that a second call finds them.

    JAX arrays never change, so copies of the same arrays are the same.
    """

    def __init__(self):
        self._known: tuple[Any, ...] = ()

    def on(self, mesh: Mesh, tree: Any) -> Any:
        leaves, structure = jax.tree.flatten(tree)
        known = self._known
        if not (
            known
            and known[0] == mesh
            and len(known[1]) == len(leaves)
            and all(a is b for a, b in zip(known[1], leaves, strict=True))
        ):
            known = (mesh, leaves, jax.device_put(leaves, replicated(mesh)))
            self._known = known
        return jax.tree.unflatten(structure, known[2])


_copies = _Copies()


def replicate_params(mesh: Mesh, params: Any) -> Any:
    """The parameters on every device; at no cost for those of the call before."""
    return _copies.on(mesh, params)


def spread(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """One axis of an array cut into a part for each device."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, DATA))
