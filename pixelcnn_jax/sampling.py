"""Ancestral sampling: whole batches of images, each in one compiled program.

The noise of a pixel depends on the key, the index of the image in the job and the
position alone, so every method, batch size, number of devices and order of visit draws
the same images, up to ties of two levels within the rounding of the logits. That is
about 1e-6 in float32 at ``jax.default_matmul_precision("highest")``, the default on a
CPU; the lower precision of other devices' defaults, or of bfloat16, makes ties more
frequent.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.core import Tracer
from jax.sharding import Mesh, PartitionSpec

from pixelcnn_jax.devices import DATA, mesh_for, replicate_params, replicated
from pixelcnn_jax.errors import require
from pixelcnn_jax.layers import Front
from pixelcnn_jax.likelihood import check_labels

Method = Literal["auto", "full", "cached", "wavefront"]

WAVEFRONT_IMAGES = 8
"""Up to so many images a device "auto" takes "wavefront" where the model allows it."""


def sample(
    model: Any,
    key: jax.Array,
    num_images: int,
    *,
    temperature: float | jax.Array = 1.0,
    labels: jax.Array | np.ndarray | None = None,
    method: Method = "auto",
    batch_size: int | None = None,
) -> jax.Array:
    """Draw images from the model.

    All batches run in one XLA program without a host round trip, spread over all
    devices of the model's kind. Works inside ``jit`` too, there on the devices that the
    caller chose (``num_images``, ``method`` and ``batch_size`` are static). Does not
    compile again for another key, temperature, labels or weights.

    Args:
        model: a model of this package, such as `PixelCNN`.
        key: a key of ``jax.random.key`` or ``jax.random.PRNGKey``.
        num_images: how many, N >= 1.
        temperature: divides the logits; 1 samples the model, 0 takes the likeliest
            level of each channel. Of a mixture it scales the spread as well; 0 takes
            the rounded mean of the likeliest component.
        labels: int ``[N]``, the class of each image; for a model with classes, which
            needs them.
        method: "cached" computes one position's features a step. "wavefront" computes
            all positions that can be known at once, in ``W + (H - 1) * lag`` steps
            instead of ``H * W``; for models with a `wavefront_lag`. "full" runs the
            whole network for every position, the textbook's loop and the reference.
            "auto" takes "wavefront" for at most `WAVEFRONT_IMAGES` images a device,
            where its fewer steps pay, if the model allows it, and else "cached".
        batch_size: images drawn at a time, which bounds memory; None: all. The images
            do not depend on it.

    Returns:
        int32 ``[N, H, W, C]`` in ``[0, levels)``.

    Raises:
        UserError: a number below 1, a negative or undefined temperature, labels that do
            not fit, an unknown method, a wavefront of a model that has none.
    """
    batch_size = num_images if batch_size is None else batch_size
    for name, value in (("num_images", num_images), ("batch_size", batch_size)):
        require(value >= 1, f"{name} must be at least 1, got {value}; try 1")
    if not isinstance(temperature, Tracer):
        require(
            bool(temperature >= 0 and temperature < math.inf),
            "the temperature must be a number of at least 0,"
            f" got {temperature}; 1 samples the model",
        )
    labels = check_labels(model.config, labels, num_images)
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    graph, params = nnx.split(model)
    arguments = (params, key, temperature, labels)
    mesh = mesh_for(params, min(batch_size, num_images))
    job = _plan(model, num_images, batch_size, method, 1 if mesh is None else mesh.size)
    if mesh is None:
        return _sample(graph, job, None, *arguments)
    arguments = (
        replicate_params(mesh, params),
        *jax.device_put(arguments[1:], replicated(mesh)),
    )
    images = _sample(graph, job, mesh, *arguments)
    return jax.device_put(images, jnp.asarray(jax.tree.leaves(params)[0]).sharding)


class _Job(NamedTuple):
    """What a sampling program is compiled for."""

    num_images: int
    num_batches: int
    batch_size: int
    """A device's share of a batch."""
    draw: Callable[..., jax.Array]


def _plan(
    model: Any, num_images: int, batch_size: int, method: Method, num_devices: int
) -> _Job:
    share = -(-min(batch_size, num_images) // num_devices)
    require(
        method in ("auto", *METHODS),
        f"the method must be one of auto, {', '.join(METHODS)}, got {method}",
    )
    possible = model.wavefront_lag is not None
    require(
        possible or method != "wavefront",
        f"method wavefront needs a model whose rows can run side by side, got a"
        f" {type(model).__name__}; use cached",
    )
    if method == "auto":
        few = share <= WAVEFRONT_IMAGES
        method = "wavefront" if possible and few else "cached"
    return _Job(
        num_images, -(-num_images // (share * num_devices)), share, METHODS[method]
    )


@partial(jax.jit, static_argnums=(0, 1, 2))
def _sample(graph, job: _Job, mesh: Mesh | None, params, key, temperature, labels):
    num_devices = 1 if mesh is None else mesh.size
    shape = (job.num_batches, num_devices * job.batch_size)
    index = jnp.arange(math.prod(shape)).reshape(shape)
    # The last batch is filled up with images that are dropped again.
    if labels is not None:
        filled = jnp.zeros(math.prod(shape), jnp.int32).at[: job.num_images].set(labels)
        labels = filled.reshape(shape)

    def on_device(params, key, temperature, index, labels):
        model = nnx.merge(graph, params)

        def one_batch(batch):
            index_B, labels_B = batch
            keys_B = image_keys(key, index_B)
            return job.draw(model, keys_B, labels_B, temperature)

        if job.num_batches == 1:
            first = jax.tree.map(lambda x: x[0], (index, labels))
            return one_batch(first)[None]
        return lax.map(one_batch, (index, labels))

    if mesh is not None:
        everywhere, spread = PartitionSpec(), PartitionSpec(None, DATA)
        on_device = jax.shard_map(
            on_device,
            mesh=mesh,
            in_specs=(everywhere, everywhere, everywhere, spread, spread),
            out_specs=spread,
            check_vma=False,
        )
    images = on_device(params, key, temperature, index, labels)
    return images.reshape(-1, *images.shape[2:])[: job.num_images]


def image_keys(key: jax.Array, index_B: jax.Array) -> jax.Array:
    """The key of each image from its index in the job, ``[B]``."""
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(index_B)


def pixel_keys(keys_B: jax.Array, position_F: jax.Array) -> jax.Array:
    """The keys of the pixels at positions ``row * W + column``, ``[F, B]``."""
    fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
    return jax.vmap(fold, in_axes=(None, 0))(keys_B, position_F)


def draw_full(
    model: Any, keys_B: jax.Array, labels_B: jax.Array | None, temperature: Any
) -> jax.Array:
    """One batch with a whole image pass for every position and channel step."""
    height, width = model.config.height, model.config.width
    distribution = model.distribution
    images = jnp.zeros((len(keys_B), height, width, model.config.channels), jnp.int32)

    def visit(position, images):
        row, column = position // width, position % width
        keys = pixel_keys(keys_B, position[None])[0]
        for step in range(distribution.steps_per_pixel):
            outputs = model(images, labels_B)[:, row, column]
            pixels = distribution.draw(
                keys, outputs, images[:, row, column], step, temperature
            )
            images = images.at[:, row, column].set(pixels)
        return images

    return lax.fori_loop(0, height * width, visit, images)


class _State(NamedTuple):
    """Where a cached sampler stands."""

    canvas: jax.Array
    """int32 ``[H * W, B, C]``: the pixels drawn so far, zeros elsewhere."""
    caches: Any
    """What the model has seen of them."""


def draw_cached(
    model: Any, keys_B: jax.Array, labels_B: jax.Array | None, temperature: Any
) -> jax.Array:
    """One batch with one position's features a step."""
    width = model.config.width

    def visit_row(row, state):
        def visit(column, state):
            front = Front(row[None], column[None])
            return _draw_front(model, keys_B, temperature, front, state)

        state = state._replace(caches=model.start_row(state.caches, row))
        return lax.fori_loop(0, width, visit, state)

    state = _begin(model, keys_B, labels_B, front=1)
    state = lax.fori_loop(0, model.config.height, visit_row, state)
    return _images(model, state)


def draw_wavefront(
    model: Any, keys_B: jax.Array, labels_B: jax.Array | None, temperature: Any
) -> jax.Array:
    """One batch with a front of positions a step.

    Each row runs ``lag`` columns behind the row above, so a step visits the columns
    ``step - row * lag`` of the rows where that is inside the image. These are at most
    ``ceil(W / lag)`` neighbouring rows. Where there are fewer, at the beginning and the
    end, the rest of the front visits pixels again that are, or are being, drawn.
    """
    height, width = model.config.height, model.config.width
    lag = model.wavefront_lag
    size = min(height, -(-width // lag))

    def visit(step, state):
        rows_F = jnp.clip(step // lag - jnp.arange(size), 0, height - 1)
        columns_F = step - rows_F * lag
        known_F = columns_F >= width
        front = Front(rows_F, jnp.minimum(columns_F, width - 1))
        return _draw_front(model, keys_B, temperature, front, state, known_F)

    state = _begin(model, keys_B, labels_B, front=size)
    state = lax.fori_loop(0, width + (height - 1) * lag, visit, state)
    return _images(model, state)


METHODS: dict[str, Callable[..., jax.Array]] = {
    "full": draw_full,
    "cached": draw_cached,
    "wavefront": draw_wavefront,
}
"""What draws a batch, by the method's name; "auto" is one of them."""


def _begin(
    model: Any, keys_B: jax.Array, labels_B: jax.Array | None, front: int
) -> _State:
    c, batch_size = model.config, len(keys_B)
    canvas = jnp.zeros((c.height * c.width, batch_size, c.channels), jnp.int32)
    return _State(canvas, model.init_caches(batch_size, c.width, labels_B, front))


def _images(model: Any, state: _State) -> jax.Array:
    c = model.config
    images = state.canvas.reshape(c.height, c.width, *state.canvas.shape[1:])
    return images.transpose(2, 0, 1, 3)


def _draw_front(
    model: Any,
    keys_B: jax.Array,
    temperature: Any,
    front: Front,
    state: _State,
    known_F: jax.Array | None = None,
) -> _State:
    """Draw the pixels of a front, but for those that are known already."""
    canvas, caches = state
    size = front.rows_F.shape[0]
    position_F = front.rows_F * model.config.width + front.columns_F
    keys = pixel_keys(keys_B, position_F)
    before = jnp.stack(
        [
            lax.dynamic_index_in_dim(canvas, position_F[f], keepdims=False)
            for f in range(size)
        ]
    )
    pixels = before
    for step in range(model.distribution.steps_per_pixel):
        outputs, caches = model.step(caches, front)
        pixels = model.distribution.draw(keys, outputs, pixels, step, temperature)
        if known_F is not None:
            pixels = jnp.where(known_F[:, None, None], before, pixels)
        caches = model.observe(caches, pixels, front)
    for f in range(size):
        canvas = lax.dynamic_update_slice_in_dim(
            canvas, pixels[f : f + 1], position_F[f], 0
        )
    return _State(canvas, caches)
