"""Lossless compression: an entropy coder that reads the model's own probabilities.

The size of a file is the images' likelihood, almost to the byte. Coder and decoder run
the same compiled step with the same numbers, as the two must agree on each probability
to the last bit: a file opens on the type of machine, with the versions and on the kind
of device that wrote it, and with the same model. It names them, so that all else is an
error and never a wrong image.
"""

import contextlib
import importlib.metadata
import math
import platform
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from pixelcnn_jax import __version__
from pixelcnn_jax.arguments import require_outside_jit
from pixelcnn_jax.arrays import LONGEST_SIDE
from pixelcnn_jax.coding import go_through
from pixelcnn_jax.container import (
    MODEL,
    WEIGHTS,
    Container,
    checksum,
    fingerprint,
)
from pixelcnn_jax.devices import device_of
from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.layers import Conditions
from pixelcnn_jax.machine import product_threads
from pixelcnn_jax.memory import require_memory
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.models.input_checks import (
    require_conditions,
    require_images,
    require_model,
)

Array = jax.Array | np.ndarray

RULE = "the images must come out as they went in, and did not"
CURE = "decompress where they were compressed, with the same conditions"
THREADS = ", threads "
"""Between an environment and the threads of its CPU's products. They change the last
bits of wide models only: with another number it is tried."""


def compress(
    model: PixelModel,
    images: Array,
    labels: Array | None = None,
    *,
    condition: Array | None = None,
    condition_map: Array | None = None,
) -> bytes:
    """Images as bytes, in about as many bits as their negative log-likelihood has.

    Not for use inside ``jit``: the coder runs on the host. It steps through all
    positions, `coding.LANES` images at a time.

    Args:
        model: a model of this package, such as `PixelCNN`.
        images: integers ``[N, H, W, C]`` in ``[0, levels)``, N >= 1, of any size with
            sides of `arrays.LONGEST_SIDE` at most.
        labels: int ``[N]``, the classes; for a model with classes. They are kept in the
            file.
        condition, condition_map: of each image, for a model that has them; see
            `sample`. They are *not* in the file: `decompress` must be given the same.

    Raises:
        UserError: there is no image, see `log_prob`, or the package ``constriction`` is
            missing.
    """
    coder = _coder()
    require_model(model)
    require_images(model, images)
    require_outside_jit("compress", images, labels, condition, condition_map)
    images = np.asarray(images)
    require(images.size > 0, "images to compress must be at least 1, got 0")
    _require_size(images.shape)
    given = Conditions(labels, condition, condition_map)
    require_conditions(model, given, images.shape)
    classes = None if labels is None else np.asarray(labels, np.int32)
    require(
        labels is not None or model.config.num_classes == 0,
        "labels must be given to compress by a model with classes, got none",
    )
    # A queue, not a stack such as ANS: values must come out in the order they go in, as
    # each law depends on all earlier values.
    encoder = coder.stream.queue.RangeEncoder()
    law = coder.stream.model.Categorical(perfect=False)
    if classes is not None and model.config.num_classes > 1:
        uniform = coder.stream.model.Uniform(model.config.num_classes)
        encoder.encode(classes, uniform)
    values_NT = images.reshape(len(images), -1).astype(np.int32)

    def encode(part: slice, step: int, probs_BV: np.ndarray) -> np.ndarray:
        values_B = np.ascontiguousarray(values_NT[part, step])
        encoder.encode(values_B, law, probs_BV)
        return values_B

    go_through(model, images.shape, given, encode)
    shape = tuple(map(int, images.shape))
    words = encoder.get_compressed()
    marks = (*fingerprints(model), checksum(images))
    here = f"{environment(model)}{THREADS}{product_threads()}"
    return Container(shape, here, *marks, words).to_bytes()


def decompress(
    model: PixelModel,
    data: bytes,
    *,
    condition: Array | None = None,
    condition_map: Array | None = None,
) -> np.ndarray:
    """The images that `compress` was given, int32 ``[N, H, W, C]``.

    Args:
        model: the model that compressed them.
        data: what `compress` returned.
        condition, condition_map: those that `compress` was given.

    Raises:
        UserError: the data are damaged, another model, machine, version or kind of
            device wrote them, the conditions are missing or others, or the
            package ``constriction`` is missing.
    """
    return decompress_with_labels(
        model, data, condition=condition, condition_map=condition_map
    )[0]


def decompress_with_labels(
    model: PixelModel,
    data: bytes,
    *,
    condition: Array | None = None,
    condition_map: Array | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """`decompress`, and the labels int32 ``[N]``; None for a model without classes."""
    coder = _coder()
    require_model(model)
    require(
        isinstance(data, bytes),
        f"the compressed data must be bytes, got {type(data).__name__}; pass what"
        " compress returned",
    )
    found = Container.from_bytes(data)
    _require_same(model, found)
    decoder = coder.stream.queue.RangeDecoder(found.words)
    law = coder.stream.model.Categorical(perfect=False)
    # Before anything is allocated for what the file says that it holds.
    size = 4 * math.prod(found.shape)
    require_memory("the images", size, "compress them in several files")
    _require_size(found.shape)
    count, classes = found.shape[0], model.config.num_classes
    labels = np.zeros(count, np.int32) if classes else None
    if classes > 1:
        with _on_its_way(found):
            labels = decoder.decode(coder.stream.model.Uniform(classes), count)
    given = Conditions(labels, condition, condition_map)
    require_conditions(model, given, found.shape)
    values_NT = np.zeros((count, math.prod(found.shape[1:])), np.int32)

    def decode(part: slice, step: int, probs_BV: np.ndarray) -> np.ndarray:
        values_NT[part, step] = decoder.decode(law, probs_BV)
        return values_NT[part, step]

    with _on_its_way(found):
        go_through(model, found.shape, given, decode)
    images = values_NT.reshape(found.shape)
    require(
        checksum(images) == found.images, f"{RULE}: wrong check sum; {_cure(found)}"
    )
    return images, labels


@contextlib.contextmanager
def _on_its_way(found: Container) -> Iterator[None]:
    """Raise UserError where the coder says that it has lost its way."""
    try:
        yield
    except AssertionError as error:
        raise UserError(f"{RULE} ({error}); {_cure(found)}") from error


def _cure(found: Container) -> str:
    former, here = found.environment.partition(THREADS)[2], str(product_threads())
    if former in ("", here):
        return CURE
    return f"{CURE}, and with NPROC={former} set, for the cores there (here {here})"


def _require_size(shape: Sequence[int]) -> None:
    """Raise unless the model's caches can be made for images of this shape."""
    require(
        max(shape[1:3]) <= LONGEST_SIDE,
        f"images must have sides of at most {LONGEST_SIDE} to be compressed, got"
        f" {list(shape[1:3])}; cut them into parts",
    )


def environment(model: PixelModel) -> str:
    """What the probabilities depend on besides the model, to the last bit."""
    # Not from the metadata: a checkout need not be installed.
    versions = [f"pixelcnn_jax {__version__}"]
    for name in ("jax", "jaxlib", "constriction"):
        versions.append(f"{name} {importlib.metadata.version(name)}")
    device = device_of(nnx.state(model))
    place = [platform.machine(), device.device_kind]
    if device.platform != "cpu":  # of whose libraries jaxlib does not decide
        place += device.client.platform_version.split()  # of several lines, perhaps
    return " ".join((*versions, *place))


def fingerprints(model: PixelModel) -> tuple[bytes, bytes]:
    """Of the model's kind and settings, and of its weights."""
    leaves = jax.tree.leaves(nnx.split(model)[1])
    weights = b"".join(np.asarray(leaf).tobytes() for leaf in leaves)
    settings = f"{type(model).__name__} {model.config}"
    return fingerprint(settings.encode(), MODEL), fingerprint(weights, WEIGHTS)


def _require_same(model: PixelModel, found: Container) -> None:
    settings, weights = fingerprints(model)
    rule = "the compressed data must be opened with what wrote them"
    former, here = found.environment.partition(THREADS)[0], environment(model)
    require(
        former == here,
        f"{rule}: {former}, got {here}; decompress there",
    )
    require(
        found.model == settings,
        f"{rule}: another model, got {type(model).__name__} of other settings; load the"
        " model that compressed them",
    )
    require(
        found.weights == weights,
        f"{rule}: the same weights, got others; load the checkpoint that compressed"
        " them",
    )


def _coder() -> Any:  # a package without types, which may be missing
    try:
        import constriction
    except ImportError as error:
        raise UserError(
            "compression needs the package constriction, which is not installed; run"
            " pip install 'pixelcnn_jax[compression]'"
        ) from error
    return constriction
