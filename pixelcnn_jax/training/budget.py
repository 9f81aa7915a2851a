"""The memory of the widest values: logits of many levels, or attention's weights."""

from pixelcnn_jax.memory import require_memory, room_of
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.training.shares import Shares

JUDGED_BYTES = 2**28
"""That the figures of an epoch may take at a time."""


def require_memory_for(model: PixelModel, shares: Shares) -> None:
    """Raise, before it begins, if an update can't fit.

    The widest values and their gradient are there at once, of a microbatch per device.

    Raises:
        UserError: they take more than there is.
    """
    room = room_of(shares.device, shares.mesh.size)
    images = room.sharers * shares.microbatch
    require_memory(
        f"the network's pass over {images} images and its gradient",
        2 * _bytes(model, images),
        "lower training.microbatch_size, or training.batch_size",
        there=room.there,
    )


def judged_at_once(model: PixelModel) -> int:
    """Images whose likelihood is computed at a time for the figures of an epoch."""
    return max(1, min(128, JUDGED_BYTES // _bytes(model, 1)))


def _bytes(model: PixelModel, count: int) -> int:
    return model.image_pass_bytes(count, model.config.height, model.config.width)
