"""A sampler as one file, for machines that have nothing of this package."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pixelcnn_jax import __version__, keys
from pixelcnn_jax.arguments import require_count, require_path, require_size
from pixelcnn_jax.drawing import Given, Method, Way, choose_method, require_method
from pixelcnn_jax.errors import UserError
from pixelcnn_jax.files import write_bytes
from pixelcnn_jax.jobs import Graph, Job, run
from pixelcnn_jax.models.base import PixelModel, require_model
from pixelcnn_jax.sampler_file import Header, SamplerFile

PLATFORMS = ("cpu", "cuda", "tpu")
"""What an exported program runs on."""


def export_sampler(
    model: PixelModel,
    path: str | Path,
    num_images: int,
    *,
    method: Method = "auto",
    size: tuple[int, int] | None = None,
) -> None:
    """Write a model's sampler as one XLA program for CPUs, NVIDIA GPUs and TPUs.

    `load_sampler` runs it, without Flax and without the model's code. It draws all
    images at a time, on one device, and they are those of `sample`. The weights are in
    the file. A later JAX reads it for six months at least, as `jax.export` promises.

    Args:
        model: a model of this package, such as `PixelCNN`.
        path: the file; .pxs by custom.
        num_images: how many images each call draws.
        method, size: see `sample`.

    Raises:
        UserError: see `sample`; or the file can't be written, or the package
            ``flatbuffers`` is missing.
    """
    require_model(model)
    place, config = require_path("path", path), model.config
    require_count("num_images", num_images)
    if size is None:
        size = config.height, config.width
    require_size(size)
    require_method(method)
    choose_method(model, method, num_images)  # a wavefront may be impossible
    program, weights = _program(model, num_images, Way(method, *size))
    kind = type(model).__name__
    header = Header(
        num_images=int(num_images),
        height=int(size[0]),
        width=int(size[1]),
        channels=config.channels,
        levels=config.levels,
        num_classes=config.num_classes,
        environment=f"{kind}; pixelcnn_jax {__version__}, jax {jax.__version__}",
    )
    content = SamplerFile(header, program, weights).to_bytes()
    try:
        write_bytes(place, content)
    except OSError as error:
        raise UserError(
            f"path must be a file that can be written, got {path} ({error.strerror})"
        ) from error


def _program(
    model: PixelModel, num_images: int, way: Way
) -> tuple[bytes, list[np.ndarray]]:
    """The serialized sampler, and its first argument."""
    graph, params = nnx.split(model)
    weights, structure = jax.tree.flatten(params)
    job = Job(num_images, 1, num_images, way)

    # Weights are arguments, not constants: XLA would fold constants at compilation,
    # slowly, and round the results in ways of its own.
    @jax.jit
    def draw(
        weights: list[jax.Array],
        key_data: jax.Array,
        temperature: jax.Array,
        *labels: jax.Array,
    ) -> jax.Array:
        key = jax.random.wrap_key_data(key_data, impl=keys.IMPLEMENTATION)
        params = jax.tree.unflatten(structure, weights)
        given = Given(*labels)
        drawn = run(Graph(graph), job, None, params, key, temperature, given, 0)
        return drawn.images

    shape = jax.ShapeDtypeStruct
    arguments = [
        [shape(x.shape, x.dtype) for x in weights],
        shape((2,), jnp.uint32),
        shape((), jnp.float32),
    ]
    if model.config.num_classes:
        arguments.append(shape((num_images,), jnp.int32))
    try:
        exported = jax.export.export(draw, platforms=PLATFORMS)(*arguments)
        return bytes(exported.serialize()), [np.asarray(x) for x in weights]
    except ImportError as error:  # only now does JAX look for it
        raise UserError(
            "an export needs the package flatbuffers, which is not installed; run"
            " pip install flatbuffers"
        ) from error
