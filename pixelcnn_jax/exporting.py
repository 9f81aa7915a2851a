"""A sampler as one file, for machines that have nothing of this package."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from pixelcnn_jax import __version__, keys
from pixelcnn_jax.arguments import require_count, require_path, require_size
from pixelcnn_jax.config import ModelConfig
from pixelcnn_jax.drawing import Given, Method, Way, require_method, require_method_of
from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.files import try_to_write, write_bytes
from pixelcnn_jax.jobs import PLATFORMS, Job, run
from pixelcnn_jax.layers import Conditions
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.models.graph import split
from pixelcnn_jax.models.input_checks import require_conditions, require_model, size_for
from pixelcnn_jax.sampler_file import Header, SamplerFile, leads_elsewhere


def export_sampler(
    model: PixelModel,
    path: str | Path,
    num_images: int,
    *,
    method: Method = "auto",
    size: tuple[int, int] | None = None,
    map_size: tuple[int, int] | None = None,
) -> None:
    """Write a model's sampler as one XLA program for CPUs, NVIDIA GPUs and TPUs.

    `load_sampler` runs it, without Flax and without the model's code. It draws all
    images at a time, on one device, and they are those of `sample`. The weights are in
    the file. A later JAX reads it for six months at least, as `jax.export` promises.

    The sampler must be given all conditions that the model takes, that of a model with
    ``condition_dropout`` too; and it does not guide.

    Args:
        model: a model of this package, such as `PixelCNN`.
        path: the file; .pxs by custom.
        num_images: how many images each call draws.
        method, size: see `sample`.
        map_size: height and width of the condition maps that it will be given; None:
            those of the images.

    Raises:
        UserError: see `sample`; or the file can't be written, or the package
            ``flatbuffers`` is missing.
    """
    require_model(model)
    place, config = require_path("path", path), model.config
    num_images = require_count("num_images", num_images)
    size = size_for(model, size)
    require_method(method)
    require_method_of(model, method)
    if map_size is None:
        map_size = size
    else:
        require(
            config.condition_channels > 0,
            f"map_size needs a model with condition maps, got {map_size!r} for one"
            " without; leave it out",
        )
    map_size = require_size(map_size, "map_size", "the images")
    example = _conditions(config, num_images, map_size)
    require_conditions(model, example, (num_images, *size))
    with _refusal(place):
        # Before the work, so that a bad path costs nobody a program.
        try_to_write(place)
    program, weights = _program(model, num_images, Way(method, *size), example)
    kind = type(model).__name__
    header = Header(
        num_images=num_images,
        height=size[0],
        width=size[1],
        channels=config.channels,
        levels=config.levels,
        num_classes=config.num_classes,
        environment=f"{kind}; pixelcnn_jax {__version__}, jax {jax.__version__}",
        condition_features=config.condition_features,
        condition_map=(*map_size, config.condition_channels),
        condition_levels=config.condition_levels,
    )
    content = SamplerFile(header, program, weights).to_bytes()
    with _refusal(place):
        write_bytes(place, content)


@contextlib.contextmanager
def _refusal(path: Path) -> Iterator[None]:
    """Say so if the file can't be written."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"path must be a file that can be written, got {path} ({error.strerror});"
            " pass another path"
        ) from error


def _conditions(
    config: ModelConfig, count: int, map_size: tuple[int, int]
) -> Conditions:
    """What so many images could be conditioned on."""
    vector, channels = config.condition_features, config.condition_channels
    map_type = np.int32 if config.condition_levels else jnp.float32
    return Conditions(
        np.zeros(count, np.int32) if config.num_classes else None,
        np.zeros((count, vector), np.float32) if vector else None,
        np.zeros((count, *map_size, channels), map_type) if channels else None,
    )


def _program(
    model: PixelModel, num_images: int, way: Way, example: Conditions
) -> tuple[bytes, list[np.ndarray]]:
    """The serialized sampler, and its first argument."""
    graph, params = split(model)
    weights, structure = jax.tree.flatten(params)
    some_given, kinds = jax.tree.flatten(example)
    job = Job(num_images, 1, num_images, way)

    # Weights are arguments, not constants: XLA would fold constants at compilation,
    # slowly, and round the results in ways of its own.
    @jax.jit
    def draw(
        weights: list[jax.Array],
        key_data: jax.Array,
        temperature: jax.Array,
        *given: jax.Array,
    ) -> jax.Array:
        key = jax.random.wrap_key_data(key_data, impl=keys.IMPLEMENTATION)
        params = jax.tree.unflatten(structure, weights)
        known = Given(jax.tree.unflatten(kinds, given))
        drawn = run(graph, job, None, params, key, temperature, known, 0)
        return drawn.images

    shape = jax.ShapeDtypeStruct
    arguments = [
        [shape(x.shape, x.dtype) for x in weights],
        shape((2,), jnp.uint32),
        shape((), jnp.float32),
    ]
    arguments += some_given
    try:
        exported = jax.export.export(draw, platforms=tuple(PLATFORMS.values()))(
            *arguments
        )
        require(
            not leads_elsewhere(exported),
            "a sampler's program must stay within XLA, got one that a setting of JAX"
            " makes call a library; unset jax_threefry_gpu_kernel_lowering",
        )
        return bytes(exported.serialize()), [np.asarray(x) for x in weights]
    except ImportError as error:  # only now does JAX look for it
        raise UserError(
            "an export needs the package flatbuffers, which is not installed; run"
            " pip install flatbuffers"
        ) from error
