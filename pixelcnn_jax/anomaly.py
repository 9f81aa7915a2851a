"""Which images do not belong? Scores by likelihoods, and how well they tell.

A likelihood alone often takes plain images of another kind for likelier than those it
was trained on. Two remedies: set it beside that of a background model, trained with
`TrainingConfig.mutation`, or beside what a general compressor makes of the image.
"""

import io
import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from pixelcnn_jax.arguments import as_array, require_outside_jit
from pixelcnn_jax.arrays import is_of_numbers
from pixelcnn_jax.config import ModelConfig
from pixelcnn_jax.errors import require
from pixelcnn_jax.layers import OtherConditions
from pixelcnn_jax.likelihood import ImageRows, evaluate, evaluate_marginal
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.models.input_checks import require_model


class AnomalyScores(NamedTuple):
    """How little each image belongs to what a model was trained on, float64 ``[N]``.

    More is stranger, in each of them.
    """

    likelihood: np.ndarray
    """Negative log-likelihood, nats."""
    ratio: np.ndarray | None
    """Log-likelihood under the background model less that under the model, nats; None
    without a background model. Ren et al. 2019, https://arxiv.org/abs/1906.02845."""
    complexity: np.ndarray
    """Negative log-likelihood less the length of the image as a PNG file, bits. Serra
    et al. 2020, https://arxiv.org/abs/1909.11480."""


def anomaly_scores(
    model: PixelModel,
    images: ImageRows,
    *,
    background: PixelModel | None = None,
    batch_size: int = 128,
    condition: np.ndarray | None = None,
    condition_map: np.ndarray | None = None,
) -> AnomalyScores:
    """Scores of each image by which to tell those that do not belong.

    A model with classes counts by its mean over the classes, all as likely, since
    strange images have none.

    Args:
        model: trained on what belongs.
        images: integers ``[N, H, W, C]`` in ``[0, levels)``, N >= 1.
        background: trained on the same images with a mutation; of as many levels.
        batch_size: images per call.
        condition, condition_map: of each image, for models that have them; see
            `sample`. Both models are given them, and must take the same.

    Raises:
        UserError: there is no image, the models take different images, or as for
            `log_prob`.
    """
    given = OtherConditions(condition=condition, condition_map=condition_map)
    require_model(model)
    if background is not None:
        require_model(background)
        require_same_images(model, background)
    require_outside_jit("anomaly_scores", images, given)
    nats = _nats(model, images, batch_size, given)
    ratio = None
    if background is not None:
        ratio = nats - _nats(background, images, batch_size, given)
    bits = nats / math.log(2) - png_bits(images, model.config.levels)
    return AnomalyScores(nats, ratio, bits)


def require_same_images(model: PixelModel, background: PixelModel) -> None:
    """Raise unless the two give probabilities to the same images and conditions."""
    ours, theirs = (_taken(m.config) for m in (model, background))
    require(
        ours == theirs,
        f"background must be a model of the same images, {ours}, got one of {theirs};"
        " train it on the same data",
    )


def _taken(c: ModelConfig) -> str:
    """What a model takes besides classes, in words."""
    words = [f"{c.channels} channels of {c.levels} levels"]
    if c.condition_features:
        words.append(f"vectors of {c.condition_features}")
    if c.condition_channels:
        levels = f" of {c.condition_levels} levels" if c.condition_levels else ""
        words.append(f"maps of {c.condition_channels} channels{levels}")
    return " with ".join(words)


def _nats(
    model: PixelModel, images: ImageRows, batch_size: int, given: OtherConditions
) -> np.ndarray:
    classes = model.config.num_classes
    if classes == 0:
        return evaluate(model, images, batch_size=batch_size, **given).nats
    alike = np.full(classes, 1 / classes)
    return evaluate_marginal(model, images, alike, batch_size, **given).nats


def png_bits(images: ImageRows, levels: int) -> np.ndarray:
    """The length of each image as a PNG file of its own, in bits, float64 ``[N]``.

    Args:
        images: integers ``[N, H, W, C]`` in ``[0, levels)``. Channels, unless they are
            one or three, stand side by side.
        levels: at most 2**16.
    """
    # Some at a time: they may be read from the disk.
    parts = (images[start : start + 256] for start in range(0, len(images), 256))
    return np.array([8.0 * len(_png(x, levels)) for part in parts for x in part])


def _png(image_HWC: np.ndarray, levels: int) -> bytes:
    pixels = np.asarray(image_HWC).astype(np.uint8 if levels <= 256 else np.uint16)
    if levels > 256 or pixels.shape[-1] != 3:
        pixels = pixels.swapaxes(1, 2).reshape(len(pixels), -1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", optimize=True)
    return file.getvalue()


def auroc(belong: np.ndarray, strange: np.ndarray) -> float:
    """The area under the curve of true over false alarms, of all thresholds.

    That is the probability that a strange image has the higher score than one that
    belongs, ties counted half: 1 is perfect, 0.5 is chance.

    Args:
        belong: scores of images that belong ``[N]``.
        strange: scores of images that do not ``[M]``.

    Raises:
        UserError: one of the two is empty, or has a score that is no number.
    """
    require_outside_jit("auroc", belong, strange)
    given = [as_array("scores", x) for x in (belong, strange)]
    types = [x.dtype for x in given]
    require(
        all(map(is_of_numbers, given)),
        f"scores must be numbers, got arrays of {types[0]} and {types[1]}",
    )
    both = [x.astype(np.float64).ravel() for x in given]
    require(
        all(len(x) > 0 and not np.isnan(x).any() for x in both),
        f"scores must be numbers, at least one of each kind, got {len(both[0])} and"
        f" {len(both[1])}, {sum(int(np.isnan(x).sum()) for x in both)} of them nan",
    )
    ordered = np.sort(both[0])
    below = np.searchsorted(ordered, both[1], "left")
    not_above = np.searchsorted(ordered, both[1], "right")
    return float((below + not_above).mean() / (2 * len(ordered)))
