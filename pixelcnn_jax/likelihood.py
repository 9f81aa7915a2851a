"""Exact log-likelihood, over a batch and over a data set."""

import dataclasses
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pixelcnn_jax.devices import mesh_for, replicate_params, spread
from pixelcnn_jax.errors import require

Array = jax.Array | np.ndarray


def log_prob(model: Any, images: Array, labels: Array | None = None) -> jax.Array:
    """Log-probability of each image under the model, given its class if it has classes.

    Works inside ``jit`` and under ``grad``, in the parameters of ``model``.

    Args:
        model: a model of this package, such as `PixelCNN`.
        images: integers ``[B, H, W, C]`` in ``[0, levels)``. The range is checked where
            ``images`` is a NumPy array.
        labels: int ``[B]``, the classes; for a model with classes, which needs them.

    Returns:
        float32 ``[B]``, in nats.

    Raises:
        UserError: the images have another rank, number of channels, type or range, or
            the labels do not fit.
    """
    check_images(model.config, images)
    labels = check_labels(model.config, labels, len(images))
    graph, params = nnx.split(model)
    return _log_prob(graph, params, jnp.asarray(images), labels)


@partial(jax.jit, static_argnums=0)
def _log_prob(
    graph: Any, params: Any, images: jax.Array, labels: jax.Array | None
) -> jax.Array:
    return image_log_prob(nnx.merge(graph, params), images, labels)


def image_log_prob(
    model: Any,
    images: jax.Array,
    labels: jax.Array | None,
    **options: Any,
) -> jax.Array:
    """`log_prob` without its checks, and with options of `PixelModel.__call__`."""
    outputs = model(images, labels, **options)
    return model.distribution.log_prob(outputs, images).sum(axis=(1, 2))


def bits_per_dim(model: Any, images: Array, labels: Array | None = None) -> jax.Array:
    """Negative log-likelihood of each image in bits per dimension.

    That is ``-log_prob / (H * W * C * ln 2)``, float32 ``[B]``. Arguments and errors as
    for `log_prob`.
    """
    return -log_prob(model, images, labels) / (
        math.prod(images.shape[1:]) * math.log(2)
    )


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The likelihood of a set of images."""

    nats: np.ndarray
    """Negative log-likelihood of each image, float64 ``[N]``."""
    dims: int
    """Dimensions of an image, H * W * C."""

    @property
    def nats_per_image(self) -> float:
        """Mean over the images."""
        return float(self.nats.mean())

    @property
    def nats_standard_error(self) -> float:
        """Standard error of `nats_per_image`; nan for a single image."""
        if len(self.nats) < 2:
            return math.nan
        return float(self.nats.std(ddof=1) / math.sqrt(len(self.nats)))

    @property
    def bits_per_dim(self) -> float:
        """`nats_per_image` in bits per dimension."""
        return self.nats_per_image / (self.dims * math.log(2))

    @property
    def bits_per_dim_standard_error(self) -> float:
        """Standard error of `bits_per_dim`."""
        return self.nats_standard_error / (self.dims * math.log(2))


def evaluate(
    model: Any,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    batch_size: int = 128,
) -> Evaluation:
    """The likelihood of every image, each counted once.

    One compiled program of fixed batch size, each batch spread over all devices of the
    model's kind; the last batch is padded and the padding dropped.

    Args:
        model: a model of this package.
        images: integers ``[N, H, W, C]`` in ``[0, levels)``, N >= 1.
        labels: int ``[N]``, the classes; for a model with classes, which needs them.
        batch_size: images a program call.

    Raises:
        UserError: there is no image, or as for `log_prob`.
    """
    require(len(images) > 0, "a data set to evaluate must have at least 1 image, got 0")
    require(
        batch_size >= 1, f"batch_size must be at least 1, got {batch_size}; try 128"
    )
    images = np.asarray(images)
    check_images(model.config, images)
    check_labels(model.config, labels, len(images))
    graph, params = nnx.split(model)
    nats = np.empty(len(images))
    batch_size = min(batch_size, len(images))
    mesh = mesh_for(params, batch_size)
    if mesh is not None:
        batch_size = -(-batch_size // mesh.size) * mesh.size
        params = replicate_params(mesh, params)
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        batch = np.resize(images[part], (batch_size, *images.shape[1:]))
        classes = None if labels is None else np.resize(labels[part], batch_size)
        if mesh is not None:
            batch, classes = jax.device_put((batch, classes), spread(mesh))
        found = np.asarray(_log_prob(graph, params, batch, classes))
        nats[part] = -found[: len(nats[part])]
    return Evaluation(nats, math.prod(images.shape[1:]))


def evaluate_marginal(
    model: Any, images: np.ndarray, class_weights: np.ndarray, batch_size: int = 128
) -> Evaluation:
    """The likelihood of every image when its class is not known.

    ``log p(x) = log sum_c w_c p(x | c)`` over all classes.

    Args:
        model: a model with classes.
        images: integers ``[N, H, W, C]`` in ``[0, levels)``, N >= 1.
        class_weights: the probability of each class, float ``[num_classes]``, such as
            its frequency among the training images.

    Raises:
        UserError: as for `evaluate`.
    """
    joint = np.stack(
        [
            math.log(weight)
            - evaluate(model, images, np.full(len(images), label), batch_size).nats
            for label, weight in enumerate(class_weights)
            if weight > 0
        ]
    )
    return Evaluation(-np.logaddexp.reduce(joint), math.prod(images.shape[1:]))


def check_images(config: Any, images: jax.Array | np.ndarray) -> None:
    """Raise unless ``images`` are a batch that a model of this config can take."""
    require(
        hasattr(images, "dtype"),
        f"images must be an array, got {type(images).__name__}; pass it to np.asarray",
    )
    require(
        images.ndim == 4 and images.shape[-1] == config.channels,
        f"images must be [B, H, W, {config.channels}] for this model,"
        f" got shape {list(images.shape)}",
    )
    require(
        bool(jnp.issubdtype(images.dtype, jnp.integer)),
        f"images must be integer levels, got {images.dtype}; see data.quantize",
    )
    if isinstance(images, np.ndarray) and images.size:
        low, high = int(images.min()), int(images.max())
        require(
            low >= 0 and high < config.levels,
            f"levels must lie in 0 to {config.levels - 1}, got {low} to {high};"
            " see data.quantize",
        )


def check_labels(config: Any, labels: Any, count: int) -> jax.Array | None:
    """The labels as int32 ``[count]``; raise unless they are what the model takes.

    The range is checked where ``labels`` is a NumPy array.
    """
    if config.num_classes == 0:
        require(
            labels is None,
            "labels must be left out for a model without classes, got some",
        )
        return None
    require(
        labels is not None,
        f"labels must be given for a model of {config.num_classes} classes: integers"
        f" [{count}], got none",
    )
    require(
        hasattr(labels, "dtype"),
        f"labels must be an array, got {type(labels).__name__}; pass it to np.asarray",
    )
    require(
        labels.shape == (count,) and bool(jnp.issubdtype(labels.dtype, jnp.integer)),
        f"labels must be integers [{count}], one for each image, got {labels.dtype}"
        f" {list(labels.shape)}",
    )
    if isinstance(labels, np.ndarray) and labels.size:
        low, high = int(labels.min()), int(labels.max())
        require(
            low >= 0 and high < config.num_classes,
            f"labels must lie in 0 to {config.num_classes - 1}, got {low} to {high}",
        )
    return jnp.asarray(labels, jnp.int32)
