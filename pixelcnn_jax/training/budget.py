"""The memory of logits, which of many levels are more than all else together."""

from jax.sharding import Mesh

from pixelcnn_jax.config import Config
from pixelcnn_jax.memory import require_memory
from pixelcnn_jax.models.build import outputs_bytes
from pixelcnn_jax.training.shares import Shares

JUDGED_BYTES = 2**28
"""Of logits that the figures of an epoch may take at a time."""


def require_memory_for(config: Config, shares: Shares) -> None:
    """Raise, before anything is made, if an update's logits can't fit.

    They and their gradient are there at once, of a microbatch per device.

    Raises:
        UserError: they take more than there is.
    """
    # A CPU's devices share one memory.
    devices = shares.mesh.size if _is_cpu(shares.mesh) else 1
    images = devices * shares.microbatch
    require_memory(
        f"the logits of {images} images and their gradient",
        2 * outputs_bytes(config.model, images),
        "lower training.microbatch_size, or training.batch_size",
        there=None if devices > 1 else _accelerator_bytes(shares.mesh),
    )


def _is_cpu(mesh: Mesh) -> bool:
    return mesh.devices.flat[0].platform == "cpu"


def _accelerator_bytes(mesh: Mesh) -> int | None:
    """What an accelerator has; None for a CPU, or if it does not tell."""
    if _is_cpu(mesh):
        return None
    return (mesh.devices.flat[0].memory_stats() or {}).get("bytes_limit")


def judged_at_once(config: Config) -> int:
    """Images whose likelihood is computed at a time for the figures of an epoch."""
    one = outputs_bytes(config.model, 1)
    return max(1, min(128, JUDGED_BYTES // one))
