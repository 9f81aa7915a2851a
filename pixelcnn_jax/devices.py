"""Spreading a batch of images over devices."""

import weakref
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


def mesh_for(params: Any, batch_size: int) -> Mesh | None:
    """The devices of the parameters' kind, as many as a batch keeps busy.

    None where there is but one, where the caller has spread the parameters over several
    already, or inside a transformation, where placing things is the caller's business.
    """
    if isinstance(jnp.zeros(()), Tracer):  # whatever is computed now is traced
        return None
    home = jnp.asarray(jax.tree.leaves(params)[0]).devices()
    devices = jax.local_devices(backend=next(iter(home)).platform)[:batch_size]
    return data_mesh(devices) if len(devices) > 1 and len(home) == 1 else None


def replicated(mesh: Mesh) -> NamedSharding:
    """Everything on every device."""
    return NamedSharding(mesh, PartitionSpec())


class _Copies:
    """The last parameters that were put on a mesh, so that a second call finds them.

    JAX arrays never change, so copies of the same arrays are the same. Copies go when
    the parameters do.
    """

    def __init__(self):
        self._mesh: Mesh | None = None
        self._originals: list[Any] = []
        self._copies: list[jax.Array] = []

    def on(self, mesh: Mesh, tree: Any) -> Any:
        leaves, structure = jax.tree.flatten(tree)
        if not (
            mesh == self._mesh
            and len(leaves) == len(self._originals)
            and all(a is b() for a, b in zip(leaves, self._originals, strict=True))
        ):
            self._copies = jax.device_put(leaves, replicated(mesh))
            self._originals = [weakref.ref(x, self._forget) for x in leaves]
            self._mesh = mesh
        return jax.tree.unflatten(structure, self._copies)

    def _forget(self, gone: Any) -> None:
        if any(gone is known for known in self._originals):
            self._originals, self._copies = [], []


_copies = _Copies()


def replicate_params(mesh: Mesh, params: Any) -> Any:
    """The parameters on every device; at no cost for those of the call before."""
    return _copies.on(mesh, params)


def spread(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """One axis of an array cut into a part for each device."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, DATA))
