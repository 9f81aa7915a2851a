"""Animations of images as they fill in."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from pixelcnn_jax import pictures

MAX_FRAMES = 128
"""Of an animation: if the images take more steps, each frame shows several."""

SECONDS = 6.0
"""How long an animation takes to fill in, at most `LONGEST` milliseconds a frame."""

LONGEST, REST = 150, 2000
"""Milliseconds of a frame at most, and of the finished images at the end."""

BLANK = np.array([24, 34, 58], np.uint8)
"""The colour of what is not drawn yet: none of a grey image's."""

FRONT = np.array([255, 176, 0], np.uint8)
"""The colour of what is being drawn."""


def frames(
    images: np.ndarray,
    steps: np.ndarray,
    levels: int,
    labels: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Pictures of images as they fill in, made when they are finished.

    A frame for each step if there are at most `MAX_FRAMES`, and one of the finished
    images at the end. Frame ``t`` shows the pixels that have been drawn when step ``t``
    is done, those of that step marked: in a wavefront, they are the front.

    Args:
        images: levels ``[N, H, W, C]``.
        steps: int ``[H, W]`` or ``[N, H, W]``, when each pixel is drawn, see
            `visit_steps`. Negative: it is there from the beginning.
        levels: of a channel.
        labels: see `pictures.grid`.

    Returns:
        uint8 ``[height, width, 3]`` each.
    """
    tiles = pictures.to_tiles(images, levels)
    steps = np.broadcast_to(steps, images.shape[:3])
    # Channels that stand side by side are drawn together.
    steps = np.tile(steps, (1, 1, tiles.shape[2] // steps.shape[2]))[..., None]
    count = int(steps.max()) + 1
    stride = max(1, -(-count // MAX_FRAMES))
    for step in range(stride - 1, count + stride - 1, stride):
        front = (steps > step - stride) & (steps <= step) & (steps >= 0)
        shown = np.where(steps <= step, tiles, BLANK)
        # Half of the colour each, so that the pixel is seen as well.
        marked = np.where(front, shown // 2 + FRONT // 2, shown)
        yield pictures.arrange(marked, labels)
    yield pictures.arrange(tiles, labels)


def to_animation(shown: Iterator[np.ndarray], suffix: str) -> bytes:
    """Pictures uint8 ``[H, W, 3]`` as an animation that runs for ever.

    Args:
        shown: one or more.
        suffix: ".gif", or ".webp", which loses nothing.
    """
    first, *rest = (Image.fromarray(picture) for picture in shown)
    each = int(min(LONGEST, 1000 * SECONDS / (1 + len(rest))))
    options: dict[str, object] = dict(lossless=True) if suffix == ".webp" else {}
    file = io.BytesIO()
    first.save(
        file,
        suffix.removeprefix("."),
        save_all=True,
        append_images=rest,
        duration=[each] * len(rest) + [REST],
        loop=0,
        **options,
    )
    return file.getvalue()
