"""How a batch is shared out among devices, and a device's share among microbatches."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jax.sharding import Mesh

from pixelcnn_jax import hosts
from pixelcnn_jax.config import TrainingConfig
from pixelcnn_jax.devices import data_mesh
from pixelcnn_jax.errors import require

CPU_MICROBATCH_POSITIONS = 1024
"""Pixels whose activations stay in a core's cache: 4 images of the book's experiment,
measured best for its network."""


class Shares(NamedTuple):
    """What each device computes of a batch."""

    mesh: Mesh
    microbatches: int
    """Computed one after another; the gradients are summed."""
    microbatch: int
    """Images in each."""

    @property
    def device(self) -> Any:
        """One of them, of this process."""
        return self.mesh.local_devices[0]

    @property
    def share(self) -> int:
        """Images of a batch on one device, padding included."""
        return self.microbatches * self.microbatch

    @property
    def width(self) -> int:
        """Images of a batch on all devices, padding included."""
        return self.mesh.size * self.share


def share_out(
    config: TrainingConfig, image_shape: Sequence[int], devices: Sequence[object]
) -> Shares:
    """The shares of a batch of images ``[H, W, C]`` on these devices."""
    require(
        not hosts.are_several() or len(devices) <= config.batch_size,
        "training.batch_size must be at least the number of devices of all processes,"
        f" {len(devices)}, got {config.batch_size}; raise it, or start fewer processes",
    )
    # A device without a whole image to itself would only repeat padding.
    mesh = data_mesh(devices[: config.batch_size])
    share = -(-config.batch_size // mesh.size)
    if config.microbatch_size is not None:
        most = config.microbatch_size
    elif mesh.local_devices[0].platform == "cpu":
        most = max(1, CPU_MICROBATCH_POSITIONS // (image_shape[0] * image_shape[1]))
    else:
        most = share
    # As few microbatches as the limit allows, then evened out: the least padding.
    microbatches = -(-share // most)
    return Shares(mesh, microbatches, -(-share // microbatches))
