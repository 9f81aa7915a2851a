"""Ancestral sampling: whole batches of images, each in one compiled program.

The noise of a pixel depends on the key, the index of the image in the job and the
position only, so every method, batch size, number of devices and order of visit draws
the same images, up to ties of two levels within the rounding of the logits. That is
about 1e-6 in float32 at ``jax.default_matmul_precision("highest")``, the default on a
CPU; the lower precision of other devices' defaults, or of bfloat16, makes ties more
frequent.
"""

import dataclasses
import math
from functools import partial
from typing import Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.core import Tracer
from jax.sharding import Mesh, PartitionSpec

from pixelcnn_jax import keys
from pixelcnn_jax.devices import DATA, Placed, replicated
from pixelcnn_jax.errors import require
from pixelcnn_jax.layers import Conditions, Front
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.walk import Choose, Order, Walker, WholeImages, walk

Method = Literal["auto", "full", "cached", "wavefront"]

METHODS: tuple[Method, ...] = get_args(Method)

Scalar: TypeAlias = float | jax.Array

WAVEFRONT_IMAGES = 8
"""The most images per device for which "auto" picks "wavefront"."""

MAX_IMAGES = 2**31 - 1
"""Images are counted in 32 bits, as keys fold them in."""


def sample(
    model: PixelModel,
    key: jax.Array,
    num_images: int,
    *,
    temperature: Scalar = 1.0,
    labels: jax.Array | np.ndarray | None = None,
    method: Method = "auto",
    batch_size: int | None = None,
) -> jax.Array:
    """Draw images from the model.

    All batches run in one XLA program without a host round trip, spread over all
    devices of the model's kind. Works inside ``jit`` too, there on the devices that the
    caller chose (``num_images``, ``method`` and ``batch_size`` are static). Does not
    compile again for another key, temperature, labels or weights. For many calls with
    the same weights on several devices, make a `Sampler` once.

    Args:
        model: a model of this package, such as `PixelCNN`.
        key: a key of ``jax.random.key`` or ``jax.random.PRNGKey``.
        num_images: how many, N >= 1.
        temperature: divides the logits; 1 samples the model, 0 takes the likeliest
            level of each channel. Of a mixture it scales the components' widths as
            well; 0 takes the rounded mean of the likeliest component.
        labels: int ``[N]``, the class of each image; for a model with classes, which
            needs them.
        method: "cached" computes one position per step. "wavefront" computes all
            positions that can be known at once, in ``W + (H - 1) * lag`` steps instead
            of ``H * W``; for models with a `wavefront_lag`. "full" runs the whole
            network for every position, the textbook's loop and the reference. "auto"
            picks "wavefront" for at most `WAVEFRONT_IMAGES` images per device, where
            its fewer steps pay, if the model allows it, and otherwise "cached".
        batch_size: images drawn at a time, which bounds memory; None: all. The images
            do not depend on it.

    Returns:
        int32 ``[N, H, W, C]`` in ``[0, levels)``.

    Raises:
        UserError: a number below 1, a negative or undefined temperature, a key that is
            none, labels that do not fit, an unknown method, a wavefront of a model that
            has none.
    """
    return Sampler(model)(
        key,
        num_images,
        temperature=temperature,
        labels=labels,
        method=method,
        batch_size=batch_size,
    )


class Sampler:
    """Draws from one model, whose weights it puts on the devices once.

    Later changes of the model's parameters do not reach it.
    """

    def __init__(self, model: PixelModel):
        self._model = model
        graph, params = nnx.split(model)
        self._graph = Graph.of(graph)
        self._params = Placed(params)
        self._home = jnp.asarray(jax.tree.leaves(params)[0]).sharding

    def __call__(
        self,
        key: jax.Array,
        num_images: int,
        *,
        temperature: Scalar = 1.0,
        labels: jax.Array | np.ndarray | None = None,
        method: Method = "auto",
        batch_size: int | None = None,
    ) -> jax.Array:
        """Draw images; see `sample` for arguments, result and errors."""
        _require_count("num_images", num_images)
        if batch_size is not None:
            _require_count("batch_size", batch_size)
        batch = num_images if batch_size is None else min(batch_size, num_images)
        _require_temperature(temperature)
        checked = self._model.check_labels(labels, num_images)
        mesh = self._params.mesh(batch)
        num_devices = 1 if mesh is None else mesh.size
        share = -(-batch // num_devices)
        require(
            method in METHODS,
            f"the method must be one of {', '.join(METHODS)}, got {method}",
        )
        job = Job(num_images, -(-num_images // (share * num_devices)), share, method)
        inputs = (keys.as_threefry(_require_key(key)), temperature, checked)
        if mesh is not None:
            inputs = jax.device_put(inputs, replicated(mesh))
        images = _sample(self._graph, job, mesh, self._params.on(mesh), *inputs)
        return images if mesh is None else jax.device_put(images, self._home)


def choose_method(model: PixelModel, method: Method, images_per_device: int) -> Method:
    """The method that "auto" stands for; others as they are.

    Raises:
        UserError: a wavefront of a model that has none.
    """
    possible = model.wavefront_lag is not None
    require(
        possible or method != "wavefront",
        f"method wavefront needs a model whose rows can run side by side, got a"
        f" {type(model).__name__}; use cached",
    )
    if method != "auto":
        return method
    few = images_per_device <= WAVEFRONT_IMAGES
    return "wavefront" if possible and few else "cached"


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A model's graph that knows its hash: Flax computes it anew at each call, which
    takes longer than drawing a small image does."""

    graph: nnx.GraphDef[PixelModel]
    known_hash: int

    @classmethod
    def of(cls, graph: nnx.GraphDef[PixelModel]) -> "Graph":
        return cls(graph, hash(graph))

    def __hash__(self) -> int:
        return self.known_hash

    def __eq__(self, other: object) -> bool:
        same = self is other
        return same or (isinstance(other, Graph) and self.graph == other.graph)


class Job(NamedTuple):
    """What a sampling program is compiled for."""

    num_images: int
    num_batches: int
    batch_size: int
    """A device's share of a batch."""
    method: Method
    """As asked for: what "auto" stands for is found while the program is traced."""


@partial(jax.jit, static_argnums=(0, 1, 2))
def _sample(
    graph: Graph,
    job: Job,
    mesh: Mesh | None,
    params: nnx.State,
    key: jax.Array,
    temperature: Scalar,
    labels: jax.Array | None,
) -> jax.Array:
    num_devices = 1 if mesh is None else mesh.size
    shape = (job.num_batches, num_devices * job.batch_size)
    index = jnp.arange(math.prod(shape)).reshape(shape)
    # The last batch is filled up with images that are dropped again.
    if labels is not None:
        filled = jnp.zeros(math.prod(shape), jnp.int32).at[: job.num_images].set(labels)
        labels = filled.reshape(shape)

    def on_device(
        params: nnx.State,
        key: jax.Array,
        temperature: Scalar,
        index: jax.Array,
        labels: jax.Array | None,
    ) -> jax.Array:
        model = nnx.merge(graph.graph, params).folded()
        method = choose_method(model, job.method, job.batch_size)

        def one_batch(batch: tuple[jax.Array, jax.Array | None]) -> jax.Array:
            index_B, labels_B = batch
            keys_B = image_keys(key, index_B)
            return draw_batch(model, method, keys_B, labels_B, temperature)

        if job.num_batches == 1:
            first = jax.tree.map(lambda x: x[0], (index, labels))
            return one_batch(first)[None]
        return lax.map(one_batch, (index, labels))

    if mesh is not None:
        everywhere, batches = PartitionSpec(), PartitionSpec(None, DATA)
        on_device = jax.shard_map(
            on_device,
            mesh=mesh,
            in_specs=(everywhere, everywhere, everywhere, batches, batches),
            out_specs=batches,
            check_vma=False,
        )
    images = on_device(params, key, temperature, index, labels)
    return images.reshape(-1, *images.shape[2:])[: job.num_images]


def draw_batch(
    model: PixelModel,
    method: Method,
    keys_B: jax.Array,
    labels_B: jax.Array | None,
    temperature: Scalar,
) -> jax.Array:
    """One batch of images ``[B, H, W, C]``, each from its own key; traceable."""
    walker, order = _way(model, method)
    choose = draw_pixels(model, keys_B, temperature, order.width)
    images, _ = walk(
        walker, order, len(keys_B), choose, conditions=Conditions(labels_B)
    )
    return images


def _way(model: PixelModel, method: Method) -> tuple[Walker, Order]:
    """How a method visits the positions, and what it computes there."""
    height, width = model.config.height, model.config.width
    if method == "full":
        return WholeImages(model), Order(height, width)
    lag = model.wavefront_lag if method == "wavefront" else None
    return model, Order(height, width, lag)


def draw_pixels(
    model: PixelModel, keys_B: jax.Array, temperature: Scalar, width: int
) -> Choose:
    """The choice of a walk that draws every pixel from its distribution."""

    def choose(
        outputs: jax.Array, before_FBC: jax.Array, front: Front, step: int
    ) -> jax.Array:
        keys_FB = pixel_keys(keys_B, front.rows_F * width + front.columns_F)
        return model.distribution.draw(keys_FB, outputs, before_FBC, step, temperature)

    return choose


def image_keys(key: jax.Array, index_B: jax.Array) -> jax.Array:
    """The key of each image from its index in the job, ``[B]``."""
    pixels = keys.for_purpose(key, keys.Purpose.PIXELS)
    return jax.vmap(lambda index: jax.random.fold_in(pixels, index))(index_B)


def pixel_keys(keys_B: jax.Array, position_F: jax.Array) -> jax.Array:
    """The keys of the pixels at positions ``row * W + column``, ``[F, B]``."""
    fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
    return jax.vmap(fold, in_axes=(None, 0))(keys_B, position_F)


def _require_count(name: str, value: object) -> None:
    is_number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    require(
        is_number and 1 <= int(value) <= MAX_IMAGES,  # type: ignore[arg-type]
        f"{name} must be an integer of at least 1 and below 2**31, got {value!r};"
        " try 64",
    )


def _require_temperature(temperature: object) -> None:
    shape = getattr(temperature, "shape", ())
    is_number = isinstance(temperature, int | float | np.number | jax.Array)
    rule = "the temperature must be a number of at least 0"
    cure = "1 samples the model"
    require(is_number and shape == (), f"{rule}, got {temperature!r}; {cure}")
    if not isinstance(temperature, Tracer):
        value = float(temperature)  # type: ignore[arg-type]
        require(0 <= value < math.inf, f"{rule}, got {temperature}; {cure}")


def _require_key(key: jax.Array) -> jax.Array:
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    old = dtype == jnp.uint32 and getattr(key, "ndim", 0) == 1 and key.shape[0] >= 2
    require(
        (typed and key.ndim == 0) or old,
        "the key must be one key of jax.random.key, got"
        f" {key if dtype is None else f'{dtype} {list(key.shape)}'};"
        " try jax.random.key(0)",
    )
    return key
