"""When each pixel of an image is drawn: the order of a walk, to be looked at."""

import numpy as np

from pixelcnn_jax.arguments import as_array, require_count
from pixelcnn_jax.completion import known_rows
from pixelcnn_jax.drawing import Method, Way, order_of, require_method
from pixelcnn_jax.errors import require
from pixelcnn_jax.jobs import Drawer
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.models.input_checks import require_model, size_for

KNOWN = -1
"""The step of a pixel that is not drawn."""


def visit_steps(
    model: PixelModel,
    num_images: int,
    *,
    known: np.ndarray | None = None,
    method: Method = "auto",
    batch_size: int | None = None,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """The step at which each pixel is drawn; nothing is drawn to find it.

    Of `sample` or `complete` with the same arguments: where rows go side by side, a
    step draws a pixel of each.

    Args:
        model: that draws.
        num_images: all that are drawn, of completions ``B * num_completions``. On it
            depends what "auto" stands for, as on ``batch_size`` and ``size``.
        known: bool ``[H, W]`` or ``[B, H, W]``, of a completion.
        method: see `sample`.
        batch_size: likewise.
        size: likewise; a completion has that of ``known``.

    Returns:
        int ``[H, W]``, or the shape of ``known``, and -1 where that says so.

    Raises:
        UserError: see `sample`.
    """
    require_model(model)
    num_images = require_count("num_images", num_images)
    require_method(method)
    if known is not None:
        known = as_array("known", known)
        require(
            known.dtype == bool and known.ndim in (2, 3),
            f"known must be bool [H, W] or [B, H, W], got {known.dtype}"
            f" {list(known.shape)}",
        )
        size = known.shape[-2:]
    size = size_for(model, size)
    first_row = 0 if known is None else known_rows(known.reshape(-1, *size))
    way = Way(method, *size, first_row)
    chosen = Drawer(model).method(num_images, way, batch_size)
    order = order_of(model, way._replace(method=chosen))
    steps = np.asarray(order.step_of_positions())
    return steps if known is None else np.where(known, KNOWN, steps)
