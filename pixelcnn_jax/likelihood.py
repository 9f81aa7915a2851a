"""Exact log-likelihood, over a batch and over a data set."""

import dataclasses
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pixelcnn_jax.errors import require


def log_prob(model: Any, images: jax.Array | np.ndarray) -> jax.Array:
    """Log-probability of each image under the model.

    Works inside ``jit`` and under ``grad``, in the parameters of ``model``.

    Args:
        model: a model of this package, such as `PixelCNN`.
        images: integers ``[B, H, W, C]`` in ``[0, levels)``. The range is checked where
            ``images`` is a NumPy array.

    Returns:
        float32 ``[B]``, in nats.

    Raises:
        UserError: the images have another rank, number of channels, type or range.
    """
    check_images(model.config, images)
    graph, params = nnx.split(model)
    return _log_prob(graph, params, jnp.asarray(images))


@partial(jax.jit, static_argnums=0)
def _log_prob(graph: Any, params: Any, images: jax.Array) -> jax.Array:
    model = nnx.merge(graph, params)
    nats = model.distribution.log_prob(model(images), images)
    return nats.sum(axis=(1, 2, 3))


def bits_per_dim(model: Any, images: jax.Array | np.ndarray) -> jax.Array:
    """Negative log-likelihood of each image in bits per dimension.

    That is ``-log_prob / (H * W * C * ln 2)``, float32 ``[B]``. Arguments and errors as
    for `log_prob`.
    """
    return -log_prob(model, images) / (math.prod(images.shape[1:]) * math.log(2))


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


def evaluate(model: Any, images: np.ndarray, batch_size: int = 128) -> Evaluation:
    """The likelihood of every image, each counted once.

    One compiled program of fixed batch size; the last batch is padded and the padding
    dropped.

    Args:
        model: a model of this package.
        images: integers ``[N, H, W, C]`` in ``[0, levels)``, N >= 1.
        batch_size: images a program call.

    Raises:
        UserError: there is no image, or as for `log_prob`.
    """
    require(len(images) > 0, "a data set to evaluate must have at least 1 image, got 0")
    require(batch_size >= 1, f"the batch size must be at least 1, got {batch_size}")
    images = np.asarray(images)
    check_images(model.config, images)
    graph, params = nnx.split(model)
    nats = np.empty(len(images))
    batch_size = min(batch_size, len(images))
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        padded = np.resize(batch, (batch_size, *batch.shape[1:]))
        nats[start : start + batch_size] = -np.asarray(
            _log_prob(graph, params, padded)
        )[: len(batch)]
    return Evaluation(nats, math.prod(images.shape[1:]))


def check_images(config: Any, images: jax.Array | np.ndarray) -> None:
    """Raise unless ``images`` are a batch that a model of this config can take."""
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
