"""Checks of what users give to a model: images, conditions, sizes, guidance."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from pixelcnn_jax import arguments
from pixelcnn_jax.arguments import (
    Scalar,
    require_condition,
    require_condition_map,
    require_labels,
    require_range,
    require_size,
)
from pixelcnn_jax.errors import require
from pixelcnn_jax.layers import Conditions
from pixelcnn_jax.models.base import Images, PixelModel

LEVELS_CURE = (
    "; pass images of the model's levels (data.quantize makes them of brightness)"
)
"""What to do about images of other levels."""


def require_model(model: object) -> None:
    """Raise unless ``model`` is one of this package."""
    require(
        isinstance(model, PixelModel),
        f"the model must be one of this package, got {type(model).__name__}; pass what"
        " load or build_model returned",
    )


def require_images(model: PixelModel, images: Images) -> None:
    """Raise unless ``images`` are a batch that the model can take.

    Inside ``jit`` the levels are not known and not checked: images with others have a
    log-probability of -inf.

    Raises:
        UserError: another type, rank, number of channels or range.
    """
    c = model.config
    require(
        hasattr(images, "dtype"),
        f"images must be an array, got {type(images).__name__}; pass it to np.asarray",
    )
    require(
        images.ndim == 4
        and images.shape[-1] == c.channels
        and min(images.shape[1:3]) > 0,
        f"images must be [B, H, W, {c.channels}] for this model, with at least 1"
        f" pixel, got shape {list(images.shape)}",
    )
    require(
        bool(jnp.issubdtype(images.dtype, jnp.integer)),
        f"images must be integer levels, got {images.dtype}; see data.quantize",
    )
    require_range("levels", images, c.levels, LEVELS_CURE)


def require_conditions(
    model: PixelModel,
    given: Conditions,
    shape: Sequence[int],
    *,
    all_of_them: bool = False,
) -> None:
    """Raise unless these are conditions of images that the model can take.

    A model with ``condition_dropout`` can do without all of them at once.

    Inside ``jit`` their values are not checked.

    Args:
        model: a model of this package.
        given: what is given of the images.
        shape: of the images, ``N, H, W, ...``.
        all_of_them: even that model is to have them, to learn from.

    Raises:
        UserError: they are not what the model takes.
    """
    c, (count, *size) = model.config, shape[:3]
    optional = c.condition_dropout > 0 and not all_of_them
    if optional and all(x is None for x in given):
        return
    require_labels(given.labels, count, c.num_classes)
    require_condition(given.condition, count, c.condition_features)
    require_condition_map(
        given.condition_map,
        count,
        c.condition_channels,
        c.condition_levels,
        (size[0], size[1]),
    )


def guidance_of(
    model: PixelModel, guidance: Scalar, given: Conditions, count: int
) -> jax.Array | None:
    """The guidance of so many images with these conditions; see `arguments`.

    Raises:
        UserError: it is no number of at least 0, or not possible.
    """
    some = any(x is not None for x in given)
    possible = some and model.config.condition_dropout > 0
    return arguments.guidance_of(guidance, count, possible=possible)


def require_classes(what: str, model: PixelModel) -> int:
    """The number of a model's classes.

    Raises:
        UserError: it has none, or is no model.
    """
    require_model(model)
    require(
        model.config.num_classes > 0,
        f"{what} needs a model with classes, got one without; train one with"
        " model.num_classes",
    )
    return model.config.num_classes


def size_for(model: PixelModel, size: tuple[int, int] | None) -> tuple[int, int]:
    """Height and width of images that a caller asks for; None: as in training.

    Raises:
        UserError: it is none.
    """
    if size is None:
        size = model.config.height, model.config.width
    return require_size(size)
