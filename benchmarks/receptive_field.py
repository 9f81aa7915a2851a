"""Draws docs/receptive_field.png: what the book's network can see, and what it can't.

python benchmarks/receptive_field.py
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import pixelcnn_jax as pj


def main() -> None:
    network = pj.build_model(pj.PixelCNNConfig())
    seen = network.receptive_field()[:, :, 0, :, :, 0]
    figure, axes = pyplot.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
    colours = ListedColormap(["#e8e8e8", "#c8553d", "#2a6f97", "#111111"])
    pixels = np.arange(256).reshape(16, 16)
    for axis, (row, column) in zip(axes, [(5, 12), (9, 7), (13, 2)], strict=True):
        earlier = pixels < pixels[row, column]
        picture = np.where(seen[row, column], 2, np.where(earlier, 1, 0))
        picture = np.where(pixels == pixels[row, column], 3, picture)
        axis.imshow(picture, cmap=colours, vmin=0, vmax=3)
        axis.set_title(f"pixel ({row}, {column})", fontsize=10)
        axis.set_xticks([])
        axis.set_yticks([])
        share = 1 - seen[row, column].sum() / earlier.sum()
        axis.set_xlabel(f"{share:.0%} of its context unseen", fontsize=9)
    handles = [Rectangle((0, 0), 1, 1, color=colours(index)) for index in (3, 2, 1, 0)]
    names = ["the pixel", "seen", "blind spot", "later: must not be seen"]
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=9)
    figure.savefig(ROOT / "docs" / "receptive_field.png", dpi=110)
    blind = 1 - seen.sum() / (256 * 255 / 2)
    print(f"docs/receptive_field.png: {blind:.1%} of all earlier pixels are unseen")


if __name__ == "__main__":
    main()
