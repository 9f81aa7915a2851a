"""Spreading a batch of images over devices."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pixelcnn_jax.machine import warn_of_idle_cores

Devices: TypeAlias = Sequence[Any]
"""Any, since JAX has no name for their type that checkers accept."""

DATA = "data"
"""Name of the mesh axis over which images are spread."""


def all_devices() -> Devices:
    """Those on which JAX computes by default, of all processes."""
    default: Any = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    if default is None or isinstance(default, str):  # the name of a platform
        return jax.devices(default)
    if jax.process_count() > 1:  # a device of one can't be that of all
        return jax.devices(default.platform)
    return [default]


def device_of(tree: object) -> Any:
    """The device of this process that computes with arrays, or one of several."""
    for leaf in jax.tree.leaves(tree):
        # Those that nobody has put anywhere go where JAX computes by default.
        concrete = isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer)
        if concrete and leaf.committed and leaf.sharding.addressable_devices:
            return min(leaf.sharding.addressable_devices, key=lambda x: x.id)
    process = jax.process_index()
    return next(x for x in all_devices() if x.process_index == process)


def data_mesh(devices: Devices) -> Mesh:
    """A mesh of these devices with the one axis `DATA`."""
    axis = {"axis_names": (DATA,), "axis_types": (AxisType.Auto,)}
    if len(devices) == jax.device_count():  # in the order that suits their wires
        return jax.make_mesh((len(devices),), devices=devices, **axis)
    # Of a part of a TPU, which need not be a box of chips, `make_mesh` knows no order.
    return Mesh(np.asarray(devices), **axis)


def size_of(mesh: Mesh | None) -> int:
    """How many devices work together; without a mesh one."""
    return 1 if mesh is None else mesh.size


def devices_for(params: object) -> Devices:
    """All devices of the kind that holds these parameters.

    Empty if the caller has spread the parameters over several already or has set a
    mesh, or inside a transformation: then placing things is the caller's business.
    """
    leaves = jax.tree.leaves(params)
    # Under `jit` whatever is computed is traced, else what is transformed.
    if any(isinstance(x, Tracer) for x in (jnp.zeros(()), *leaves)):
        return []
    if not jax.sharding.get_abstract_mesh().empty:
        return []
    # Parameters may be NumPy's, which have no device yet.
    if len(jnp.asarray(leaves[0]).devices()) > 1:
        return []
    return jax.local_devices(backend=device_of(params).platform)


def replicated(mesh: Mesh) -> NamedSharding:
    """Everything on every device."""
    return NamedSharding(mesh, PartitionSpec())


def spread(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """One axis of an array cut into a part for each device."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, DATA))


class Placed:
    """A pytree and its copies on several devices, each made once, when first asked for.

    JAX arrays never change, so a copy stays true. The copies live as long as this
    object, which belongs to whoever made it: nothing is shared behind its back.

    Attributes:
        device: that computes with it as it is, or one of several.
    """

    def __init__(self, tree: object):
        self.tree = tree
        self.device = device_of(tree)
        self._devices = devices_for(tree)
        self._copies: dict[int, object] = {}

    def mesh(self, batch_size: int) -> Mesh | None:
        """As many devices as a batch keeps busy; None if that is one."""
        # A device without an image would only wait.
        devices = self._devices[:batch_size]
        return data_mesh(devices) if len(devices) > 1 else None

    def warn_if_idle(self) -> None:
        """Says, once, that work on the only device leaves cores idle."""
        if len(self._devices) == 1:
            warn_of_idle_cores(self._devices[0].platform)

    def on(self, mesh: Mesh | None) -> object:
        """The tree on every device of one of the meshes above."""
        if mesh is None:
            return self.tree
        # Meshes are beginnings of one list of devices, so their size names them.
        if mesh.size not in self._copies:
            self._copies[mesh.size] = jax.device_put(self.tree, replicated(mesh))
        return self._copies[mesh.size]
