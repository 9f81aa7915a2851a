"""Exact log-likelihood, over a batch and over a data set."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer

from pixelcnn_jax import hosts, units
from pixelcnn_jax.arguments import (
    require_count,
    require_outside_jit,
    require_probabilities,
)
from pixelcnn_jax.devices import Placed, device_of, size_of, spread
from pixelcnn_jax.errors import require
from pixelcnn_jax.layers import Conditions, OtherConditions
from pixelcnn_jax.memory import require_memory, room_of
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.models.graph import Graph, split
from pixelcnn_jax.models.input_checks import (
    require_classes,
    require_conditions,
    require_images,
    require_model,
)

Array = jax.Array | np.ndarray


class ImageRows(Protocol):
    """Images ``[N, H, W, C]``: an array, or what stands for one and reads on demand."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice, /) -> np.ndarray: ...


def log_prob(
    model: PixelModel,
    images: Array,
    labels: Array | None = None,
    *,
    condition: Array | None = None,
    condition_map: Array | None = None,
) -> jax.Array:
    """Log-probability of each image under the model, given its conditions if any.

    Works inside ``jit`` and under ``grad``, in the parameters of ``model``.

    Args:
        model: a model of this package, such as `PixelCNN`.
        images: integers ``[B, H, W, C]`` in ``[0, levels)``; inside ``jit`` the range
            can't be checked.
        labels: int ``[B]``, the classes; for a model with classes, which needs them.
        condition, condition_map: of each image, for a model that has them; see
            `sample`.

    Returns:
        float32 ``[B]``, in nats.

    Raises:
        UserError: the images have another rank, number of channels, type or range, or
            the conditions do not fit.
    """
    given = Conditions(labels, condition, condition_map)
    return of_images(image_log_prob, model, images, given)


# Any: JAX has no name for a device's type that checkers accept.
def _require_memory(
    model: PixelModel, shape: Sequence[int], cure: str, device: Any, together: int = 1
) -> None:
    """Raise if a pass over images ``[N, H, W]`` can't fit, before it begins.

    Args:
        device: that computes it, or one of them.
        together: over how many devices the images are spread.
    """
    count, height, width = shape
    room = room_of(device, together)
    images = room.sharers * -(-count // together)
    require_memory(
        f"the network's pass over {images} images",
        model.image_pass_bytes(images, height, width),
        cure,
        there=room.there,
    )


OfImages = Callable[[PixelModel, jax.Array, Conditions], jax.Array]
"""A function of images ``[B, H, W, C]``, one value or array for each; traceable."""


def of_images(
    function: OfImages, model: PixelModel, images: Array, given: Conditions
) -> jax.Array:
    """What a function of images says, once all is checked; errors as `log_prob`."""
    graph, params = split_for(model, images, given)
    arrays = jax.tree.map(jnp.asarray, (images, given))
    return _compiled(function, graph, params, *arrays)


def split_for(
    model: PixelModel, images: Array, given: Conditions
) -> tuple[Graph, nnx.State]:
    """`models.graph.split` of a model that can take these images in one pass.

    Raises:
        UserError: it can't; see `log_prob`.
    """
    require_model(model)
    require_images(model, images)
    require(len(images) > 0, "images must be at least 1, got 0")
    require_conditions(model, given, images.shape)
    graph, params = split(model)
    _require_memory_for(model, images, device_of(params))
    return graph, params


def _require_memory_for(model: PixelModel, images: Array, device: Any) -> None:
    """`_require_memory` of images that lie where the caller has put them."""
    together, (count, *size) = 1, images.shape[:3]
    if isinstance(images, Tracer):
        # They may be spread over any devices, of which a CPU's share one memory.
        if device.platform != "cpu":
            return
    elif isinstance(images, jax.Array):
        # Perhaps each of them on every device.
        together = len(images.sharding.addressable_devices)
        count = together * images.sharding.shard_shape(images.shape)[0]
    cure = "pass fewer images at a time"
    _require_memory(model, (count, *size), cure, device, together)


@partial(jax.jit, static_argnums=(0, 1))
def _compiled(
    function: OfImages,
    graph: Graph,
    params: nnx.State,
    images: jax.Array,
    given: Conditions,
) -> jax.Array:
    return function(graph.model(params), images, given)


def image_log_prob(
    model: PixelModel,
    images: jax.Array,
    given: Conditions,
    *,
    dropout_keys: jax.Array | None = None,
    reverse_mode: bool = False,
) -> jax.Array:
    """`log_prob` without its checks, and with options of `PixelModel.__call__`."""
    outputs = model.given(
        images, given, dropout_keys=dropout_keys, reverse_mode=reverse_mode
    )
    return model.distribution.log_prob(outputs, images).sum(axis=(1, 2))


def pixel_log_prob(
    model: PixelModel,
    images: Array,
    labels: Array | None = None,
    *,
    condition: Array | None = None,
    condition_map: Array | None = None,
) -> jax.Array:
    """Log-probability of each pixel given all before it, its channels together.

    float32 ``[B, H, W]``, in nats; they sum to `log_prob`. Arguments and errors as
    there.
    """
    given = Conditions(labels, condition, condition_map)
    return of_images(_pixel_log_prob, model, images, given)


def _pixel_log_prob(
    model: PixelModel, images: jax.Array, given: Conditions
) -> jax.Array:
    return model.distribution.log_prob(model.given(images, given), images)


def bits_per_dim(
    model: PixelModel,
    images: Array,
    labels: Array | None = None,
    *,
    condition: Array | None = None,
    condition_map: Array | None = None,
) -> jax.Array:
    """Negative log-likelihood of each image in bits per dimension.

    That is ``-log_prob / (H * W * C * ln 2)``, float32 ``[B]``. Arguments and errors as
    for `log_prob`.
    """
    nats = -log_prob(
        model, images, labels, condition=condition, condition_map=condition_map
    )
    return units.bits_per_dim(nats, math.prod(images.shape[1:]))


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
        return units.bits_per_dim(self.nats_per_image, self.dims)

    @property
    def bits_per_dim_standard_error(self) -> float:
        """Standard error of `bits_per_dim`."""
        return units.bits_per_dim(self.nats_standard_error, self.dims)


def evaluate(
    model: PixelModel,
    images: ImageRows,
    labels: np.ndarray | None = None,
    batch_size: int = 128,
    *,
    condition: np.ndarray | None = None,
    condition_map: np.ndarray | None = None,
) -> Evaluation:
    """The likelihood of every image, each counted once.

    One compiled program of fixed batch size, each batch spread over all devices of the
    model's kind; the last batch is padded and the padding dropped. Of several processes
    each evaluates a share of the images, and all have the result.

    Args:
        model: a model of this package.
        images: integers ``[N, H, W, C]`` in ``[0, levels)``, N >= 1.
        labels: int ``[N]``, the classes; for a model with classes, which needs them.
        batch_size: images per call.
        condition, condition_map: of each image, for a model that has them.

    Raises:
        UserError: there is no image, or as for `log_prob`.
    """
    given = Conditions(labels, condition, condition_map)
    found = _of_all(image_log_prob, model, images, given, batch_size)
    # float64, so that means over many images lose no digits.
    nats = -found.astype(np.float64)
    return Evaluation(nats, math.prod(images.shape[1:]))


def evaluate_pixels(
    model: PixelModel,
    images: ImageRows,
    labels: np.ndarray | None = None,
    batch_size: int = 128,
    *,
    condition: np.ndarray | None = None,
    condition_map: np.ndarray | None = None,
) -> np.ndarray:
    """Negative log-likelihood of every pixel in nats, float32 ``[N, H, W]``.

    Arguments and errors as for `evaluate`.
    """
    given = Conditions(labels, condition, condition_map)
    return -_of_all(_pixel_log_prob, model, images, given, batch_size)


def _of_all(
    function: OfImages,
    model: PixelModel,
    images: ImageRows,
    given: Conditions,
    batch_size: int,
) -> np.ndarray:
    """What `evaluate` says, of any function of images, by all processes."""
    require_model(model)
    batch_size = require_count("batch_size", batch_size)
    if len(getattr(images, "shape", ())) != 4:
        require_images(model, images)  # type: ignore[arg-type]  # says what is wrong
    require_outside_jit("what evaluates", images, given)
    arguments = function, model, images, given, batch_size

    def share(start: int, stop: int) -> np.ndarray:
        return np.concatenate(list(_in_batches(*arguments, start, stop)))

    return hosts.divided(len(images), share)


def _in_batches(
    function: OfImages,
    model: PixelModel,
    images: ImageRows,
    given: Conditions,
    batch_size: int,
    first: int,
    last: int,
) -> Iterator[np.ndarray]:
    """`_of_all`, of the images from the first to the one before the last."""
    require(len(images) > 0, "a data set to evaluate must have at least 1 image, got 0")
    # On the host, where the values can be seen.
    if isinstance(images, Array):
        images = np.asarray(images)
        require_images(model, images)  # once for all batches
    require_conditions(model, given, images.shape)
    batch_size = min(batch_size, last - first)
    graph, params = split(model)
    placed = Placed(params)
    mesh = placed.mesh(batch_size)
    shape = (batch_size, *images.shape[1:3])
    cure = "lower batch_size"
    _require_memory(model, shape, cure, placed.device, size_of(mesh))
    if mesh is not None:
        batch_size = -(-batch_size // mesh.size) * mesh.size
    for start in range(first, last, batch_size):
        part = slice(start, min(start + batch_size, last))
        taken = images[part]
        if not isinstance(images, np.ndarray):
            require_images(model, taken)
        # Filled up by repeating images, since padding must hold valid levels too.
        batch = jax.tree.map(
            lambda x, count=batch_size: np.resize(x, (count, *x.shape[1:])),
            (taken, jax.tree.map(lambda x, part=part: x[part], given)),
        )
        if mesh is not None:
            batch = jax.device_put(batch, spread(mesh))
        found = np.asarray(_compiled(function, graph, placed.on(mesh), *batch))
        yield found[: len(taken)]


def of_each_class(
    model: PixelModel,
    images: ImageRows,
    classes: Iterable[int],
    batch_size: int,
    given: OtherConditions,
) -> np.ndarray:
    """Log-likelihood of every image given each of these classes, float64 ``[N, K]``."""
    # Of images that are none, `evaluate` says so.
    count = getattr(images, "shape", ())[:1]
    found = [
        -evaluate(model, images, np.full(count, label), batch_size, **given).nats
        for label in classes
    ]
    return np.stack(found, axis=1)


def evaluate_marginal(
    model: PixelModel,
    images: ImageRows,
    class_weights: np.ndarray,
    batch_size: int = 128,
    *,
    condition: np.ndarray | None = None,
    condition_map: np.ndarray | None = None,
) -> Evaluation:
    """The likelihood of every image when its class is not known.

    ``log p(x) = log sum_c w_c p(x | c)`` over all classes.

    Args:
        model: a model with classes.
        images: integers ``[N, H, W, C]`` in ``[0, levels)``, N >= 1.
        class_weights: the probability of each class, float ``[num_classes]``, such as
            its frequency among the training images.
        batch_size, condition, condition_map: see `evaluate`.

    Raises:
        UserError: the weights are no probabilities, or as for `evaluate`.
    """
    count = require_classes("a marginal likelihood", model)
    require_probabilities("class_weights", class_weights, count)
    # A class of weight 0 adds nothing: its pass is saved, and its logarithm undefined.
    classes = np.flatnonzero(class_weights)
    given = OtherConditions(condition=condition, condition_map=condition_map)
    nats = of_each_class(model, images, classes, batch_size, given)
    joint = nats + np.log(np.asarray(class_weights, np.float64)[classes])
    return Evaluation(-np.logaddexp.reduce(joint, axis=1), math.prod(images.shape[1:]))
