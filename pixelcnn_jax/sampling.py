"""Ancestral sampling: whole batches of images, each in one compiled program."""

from typing import Literal, TypedDict, Unpack, overload

import jax
import jax.numpy as jnp
import numpy as np

from pixelcnn_jax.arguments import Scalar, require_count
from pixelcnn_jax.drawing import (
    METHODS,
    WAVEFRONT_IMAGES,
    WAVEFRONT_PIXELS,
    Given,
    Method,
    Way,
)
from pixelcnn_jax.jobs import Drawer
from pixelcnn_jax.layers import Conditions
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.models.input_checks import guidance_of, require_conditions, size_for

__all__ = [
    "METHODS",
    "WAVEFRONT_IMAGES",
    "WAVEFRONT_PIXELS",
    "Method",
    "Sampler",
    "sample",
]

Array = jax.Array | np.ndarray


class Options(TypedDict, total=False):
    """Arguments of `sample` that change no type of its result."""

    temperature: Scalar
    labels: Array | None
    condition: Array | None
    condition_map: Array | None
    guidance: Scalar
    method: Method
    batch_size: int | None
    size: tuple[int, int] | None


@overload
def sample(
    model: PixelModel,
    key: jax.Array,
    num_images: int,
    *,
    with_log_prob: Literal[False] = False,
    **options: Unpack[Options],
) -> jax.Array: ...


@overload
def sample(
    model: PixelModel,
    key: jax.Array,
    num_images: int,
    *,
    with_log_prob: Literal[True],
    **options: Unpack[Options],
) -> tuple[jax.Array, jax.Array]: ...


def sample(
    model: PixelModel,
    key: jax.Array,
    num_images: int,
    *,
    temperature: Scalar = 1.0,
    labels: Array | None = None,
    condition: Array | None = None,
    condition_map: Array | None = None,
    guidance: Scalar = 1.0,
    method: Method = "auto",
    batch_size: int | None = None,
    size: tuple[int, int] | None = None,
    with_log_prob: bool = False,
) -> jax.Array | tuple[jax.Array, jax.Array]:
    """Draw images from the model.

    All batches run in one XLA program without a host round trip, spread over all
    devices of the model's kind. Works inside ``jit`` too, there on the devices that the
    caller chose (``num_images``, ``method``, ``batch_size``, ``size`` and
    ``with_log_prob`` are static). Does not compile again for another key, temperature,
    labels or weights. For many calls with the same weights on several devices, make a
    `Sampler` once.

    Args:
        model: a model of this package, such as `PixelCNN`.
        key: a key of ``jax.random.key`` or ``jax.random.PRNGKey``.
        num_images: how many, N >= 1.
        temperature: divides the logits; 1 samples the model, 0 takes the likeliest
            level of each channel. Of a mixture it scales the components' widths as
            well; 0 takes the rounded mean of the likeliest component.
        labels: int ``[N]``, the class of each image; for a model with classes, which
            needs them.
        condition: float ``[N, D]``, a vector for each image; for a model with
            ``condition_features`` D.
        condition_map: ``[N, h, w, D]``, a map for each image, of a height and width
            that divide the images'; for a model with ``condition_channels`` D. Floats,
            or integers if the model has ``condition_levels``.
        guidance: above 1, follow the conditions more closely than the model does, by
            as many times the difference that they make to the log-probabilities of
            each channel's levels; 0 leaves them out; 1 is off. Needs a model that was
            trained with ``condition_dropout``, and twice the time. Guided images do not
            follow the model's likelihood.
        method: "cached" computes one position per step. "wavefront" computes all
            positions that can be known at once, in ``W + (H - 1) * lag`` steps instead
            of ``H * W``; for models with a `wavefront_lag`. "full" runs the whole
            network for every position, the textbook's loop and the reference. "auto"
            picks "wavefront" for as many images per device as `WAVEFRONT_IMAGES` has
            for the platform, and at most `WAVEFRONT_PIXELS`, where its fewer steps pay,
            if the model allows it, and otherwise "cached".
        batch_size: images drawn at a time, which bounds memory; None: all. The images
            do not depend on it.
        size: height and width of the images; None: those of the training images. The
            network is the same at every size, and its caches, but for those of
            attention, do not grow with the height. A condition map is stretched over
            the whole image: give one larger in proportion if its cells are to cover as
            many pixels as in training.
        with_log_prob: return the log-probability of each pixel as well.

    Returns:
        int32 ``[N, H, W, C]`` in ``[0, levels)``; with ``with_log_prob`` also float32
        ``[N, H, W]``, in nats, under the model at temperature 1.

    Raises:
        UserError: a number below 1, a negative or undefined temperature, a key that is
            none, conditions that do not fit, an unknown method, a wavefront of a model
            that has none, a size that is none.
    """
    options = Options(
        temperature=temperature,
        labels=labels,
        condition=condition,
        condition_map=condition_map,
        guidance=guidance,
        method=method,
        batch_size=batch_size,
        size=size,
    )
    sampler = Sampler(model)
    if with_log_prob:
        return sampler(key, num_images, with_log_prob=True, **options)
    return sampler(key, num_images, **options)


class Sampler:
    """Draws from one model, whose weights it puts on the devices once.

    Later changes of the model's parameters do not reach it.
    """

    def __init__(self, model: PixelModel):
        self._drawer = Drawer(model)

    @overload
    def __call__(
        self,
        key: jax.Array,
        num_images: int,
        *,
        with_log_prob: Literal[False] = False,
        **options: Unpack[Options],
    ) -> jax.Array: ...

    @overload
    def __call__(
        self,
        key: jax.Array,
        num_images: int,
        *,
        with_log_prob: Literal[True],
        **options: Unpack[Options],
    ) -> tuple[jax.Array, jax.Array]: ...

    def __call__(
        self,
        key: jax.Array,
        num_images: int,
        *,
        temperature: Scalar = 1.0,
        labels: Array | None = None,
        condition: Array | None = None,
        condition_map: Array | None = None,
        guidance: Scalar = 1.0,
        method: Method = "auto",
        batch_size: int | None = None,
        size: tuple[int, int] | None = None,
        with_log_prob: bool = False,
    ) -> jax.Array | tuple[jax.Array, jax.Array]:
        """Draw images; see `sample` for arguments, result and errors."""
        num_images = require_count("num_images", num_images)
        model = self._drawer.model
        size = size_for(model, size)
        conditions = Conditions(labels, condition, condition_map)
        require_conditions(model, conditions, (num_images, *size))
        drawn = self._drawer(
            key,
            num_images,
            Way(method, *size, with_log_prob=with_log_prob),
            temperature=temperature,
            given=Given(
                jax.tree.map(jnp.asarray, conditions),
                guidance=guidance_of(model, guidance, conditions, num_images),
            ),
            batch_size=batch_size,
        )
        if drawn.log_prob is None:
            return drawn.images
        return drawn.images, drawn.log_prob
