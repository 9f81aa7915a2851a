"""Draws docs/receptive_field.png: what two networks can see, and what one can't.

python examples/receptive_field.py
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import pixelcnn_jax as pj
from pixelcnn_jax.models.receptive_field import receptive_field

PICTURE = Path(__file__).parents[1] / "docs" / "receptive_field.png"

COLOURS = ListedColormap(["#e8e8e8", "#c8553d", "#2a6f97", "#111111"])
NAMES = ["later: must not be seen", "never seen", "seen", "the pixel"]
PIXELS = np.arange(256).reshape(16, 16)
PLACES = [(5, 12), (9, 7), (13, 2)]

# What a network sees does not depend on how wide it is.
NETWORKS = {
    "the book's network": pj.PixelCNNConfig(features=2),
    "Gated PixelCNN": pj.GatedPixelCNNConfig(features=2, head_features=2),
}


def show(axes: Axes, seen: np.ndarray, row: int, column: int) -> None:
    """What the output at one position of a 16x16 image sees."""
    earlier = PIXELS[row, column] > PIXELS
    picture = np.where(seen, 2, np.where(earlier, 1, 0))
    picture[row, column] = 3
    axes.imshow(picture, cmap=COLOURS, vmin=0, vmax=3)
    axes.set_xticks([])
    axes.set_yticks([])
    share = 1 - seen.sum() / earlier.sum()
    axes.set_xlabel(f"{share:.0%} of its context unseen", fontsize=9)


def main() -> None:
    figure = Figure(figsize=(9, 6.2), layout="constrained")
    for axes, (name, config) in zip(
        figure.subplots(2, 3), NETWORKS.items(), strict=True
    ):
        seen = receptive_field(pj.build_model(config))[:, :, 0, :, :, 0]
        axes[0].set_ylabel(name)
        for panel, place in zip(axes, PLACES, strict=True):
            show(panel, seen[place], *place)
        blind = 1 - seen.sum() / (256 * 255 / 2)
        print(f"{name}: {blind:.1%} of all earlier pixels are unseen")
    handles = [Rectangle((0, 0), 1, 1, color=COLOURS(index)) for index in (3, 2, 1, 0)]
    figure.legend(handles, NAMES[::-1], loc="outside lower center", ncols=4, fontsize=9)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
