"""What the demo page does: a picture to levels, levels to completions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image

from pixelcnn_jax import completion, entropy, keys, pictures, sampling
from pixelcnn_jax.data import classes_in_turn
from pixelcnn_jax.errors import require
from pixelcnn_jax.models.base import PixelModel

COMPLETIONS = 4
SUGGESTIONS = 12

CANVAS = 384
"""Pixels that the picture to draw on is about wide."""


class Completed(NamedTuple):
    """What the page shows; pictures are uint8 ``[height, width, 3]``."""

    completions: np.ndarray
    entropies: np.ndarray
    """Of the drawn pixels, in colours; known ones in grey."""
    most: float
    """Nats of the brightest colour."""


class Playground:
    """Completes pictures of a model's size, by one compiled program.

    Args:
        model: a model of this package, of classes or of no conditions.
        suggestions: levels ``[N, H, W, C]`` of images to begin with; None: the model
            draws some.
        classes: of the suggestions, ``[N]``, if they have some.

    Raises:
        UserError: the model has other conditions than classes.
    """

    def __init__(
        self,
        model: PixelModel,
        suggestions: np.ndarray | None = None,
        classes: np.ndarray | None = None,
    ):
        self.model = model
        c = model.config
        require(
            not (c.condition_features or c.condition_channels),
            "demo needs a model without conditions, or with classes only, got one of"
            f" {c.condition_features} condition_features and {c.condition_channels}"
            " condition_channels; sample by the library",
        )
        self.scale = max(1, CANVAS // max(c.height, c.width))
        """Pixels of the canvas for one of the image, up and across."""
        graph, self._params = nnx.split(model)

        def complete(
            params: nnx.State,
            key: jax.Array,
            image_HWC: jax.Array,
            rows: jax.Array,
            temperature: jax.Array,
            label: jax.Array | None,
        ) -> tuple[jax.Array, jax.Array]:
            model = nnx.merge(graph, params)
            # Traced, so that another number of rows is the same program.
            known = jnp.broadcast_to(
                (jnp.arange(c.height) < rows)[:, None], (c.height, c.width)
            )
            drawn = completion.complete(
                model,
                key,
                image_HWC[None],
                known,
                num_completions=COMPLETIONS,
                temperature=temperature,
                labels=None if label is None else label[None],
            )[0]
            labels = None if label is None else label.repeat(COMPLETIONS)
            return drawn, entropy.entropy_map(model, drawn, labels)

        self._complete = jax.jit(complete)
        if suggestions is None:
            suggestions, classes = self._drawn()
        self.suggestions = suggestions
        """Images to begin with, ``[N, H, W, C]``."""
        self.classes = np.zeros(len(suggestions), int) if classes is None else classes
        """The class of each, ``[N]``."""

    def _drawn(self) -> tuple[np.ndarray, np.ndarray | None]:
        classes = list(range(self.model.config.num_classes))
        labels = classes_in_turn(classes, SUGGESTIONS)
        drawn = sampling.sample(self.model, keys.root(0), SUGGESTIONS, labels=labels)
        return np.asarray(drawn), labels

    @property
    def blank(self) -> np.ndarray:
        """An empty canvas, uint8 ``[height, width, 3]``."""
        c = self.model.config
        return np.zeros((c.height * self.scale, c.width * self.scale, 3), np.uint8)

    def to_canvas(self, image: np.ndarray) -> np.ndarray:
        """An image ``[H, W, C]`` as a picture to draw on."""
        tile = pictures.to_tiles(self._shown(image)[None], self.model.config.levels)[0]
        return tile.repeat(self.scale, axis=0).repeat(self.scale, axis=1)

    def from_canvas(self, picture: np.ndarray) -> np.ndarray:
        """The levels ``[H, W, C]`` of a picture, whatever its size."""
        c = self.model.config
        mode = "RGB" if c.channels == 3 else "L"
        small = Image.fromarray(picture).convert(mode)
        small = small.resize((c.width, c.height), Image.Resampling.BOX)
        levels = np.rint(np.asarray(small, np.float64) * ((c.levels - 1) / 255))
        shape = c.height, c.width, -1
        whole = (c.height, c.width, c.channels)
        return np.broadcast_to(levels.astype(np.int32).reshape(shape), whole)

    def complete(
        self,
        picture: np.ndarray,
        rows: int,
        temperature: float,
        label: int,
        seed: int,
    ) -> Completed:
        """Keep the first rows of a picture, and draw the others.

        Args:
            picture: uint8, grey or of colours.
            rows: that are kept.
            temperature: see `sample`.
            label: the class; for a model without any, nothing.
            seed: another one draws others.
        """
        drawn, nats = self._complete(
            self._params,
            keys.root(seed),
            self.from_canvas(picture),
            jnp.int32(rows),
            jnp.float32(temperature),
            jnp.int32(label) if self.model.config.num_classes else None,
        )
        shown = pictures.to_tiles(self._shown(np.asarray(drawn)), self._levels)
        nats = np.asarray(nats)[:, rows:]
        most = float(nats.max(initial=0))
        colours = shown.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8)
        colours[:, rows:] = pictures.to_heat(nats, most)
        return Completed(pictures.arrange(shown), pictures.arrange(colours), most)

    @property
    def _levels(self) -> int:
        return self.model.config.levels

    @staticmethod
    def _shown(images: np.ndarray) -> np.ndarray:
        """Images of a number of channels that a picture has: otherwise the first."""
        return images if images.shape[-1] in (1, 3) else images[..., :1]
