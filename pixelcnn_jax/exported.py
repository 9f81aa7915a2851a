"""Running a sampler from its file: needs JAX and NumPy, and no model."""

from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp

from pixelcnn_jax import keys
from pixelcnn_jax.arguments import (
    Array,
    Scalar,
    as_float32,
    require_condition,
    require_condition_map,
    require_key,
    require_labels,
    require_path,
    require_temperature,
)
from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.files import LARGEST, read_bytes
from pixelcnn_jax.sampler_file import Header, SamplerFile, leads_elsewhere


class ExportedSampler:
    """A sampler that `export_sampler` has written; see `load_sampler`."""

    def __init__(self, file: SamplerFile):
        self.header: Header = file.header
        """Number, shape, levels and classes of the images."""
        program = _deserialize(file)
        _require_to_fit(program, file)
        self._weights = jax.device_put(file.weights)
        # Under jit, since a bare call would be traced anew each time.
        self._run = jax.jit(program.call)

    def __call__(
        self,
        key: jax.Array,
        *,
        temperature: Scalar = 1.0,
        labels: Array | None = None,
        condition: Array | None = None,
        condition_map: Array | None = None,
    ) -> jax.Array:
        """Draw images: those that `sample` draws.

        Works inside ``jit`` too.

        Args:
            key, temperature, labels, condition, condition_map: see `sample`.

        Returns:
            int32 ``[N, H, W, C]`` in ``[0, levels)``.

        Raises:
            UserError: see `sample`.
        """
        header = self.header
        require_temperature(temperature)
        count, (*size, channels) = header.num_images, header.condition_map
        require_labels(labels, count, header.num_classes)
        require_condition(condition, count, header.condition_features)
        require_condition_map(
            condition_map, count, channels, header.condition_levels, (size[0], size[1])
        )
        _require_size(condition_map, size)
        data = jax.random.key_data(keys.as_threefry(require_key(key)))
        map_type = jnp.int32 if header.condition_levels else jnp.float32
        given = [
            jnp.asarray(values, dtype)
            for values, dtype in (
                (labels, jnp.int32),
                (condition, jnp.float32),
                (condition_map, map_type),
            )
            if values is not None
        ]
        return self._run(self._weights, data, as_float32(temperature), *given)


def load_sampler(path: str | Path) -> ExportedSampler:
    """The sampler in a file, as a function of key, temperature and labels.

    The file holds the whole program and its weights: neither Flax nor any model's code
    is imported, and nothing is unpickled.

    Args:
        path: what `export_sampler` wrote.

    Raises:
        UserError: the file can't be read, is none of these, damaged, or of a version
            that is not known here.
    """
    place = require_path("path", path)
    try:
        data = read_bytes(place, LARGEST)
    except OSError as error:
        raise UserError(
            f"path must be a file that can be read, got {path} ({error.strerror});"
            " pass one that export_sampler has written"
        ) from error
    return ExportedSampler(SamplerFile.from_bytes(data))


def _require_size(condition_map: Array | None, size: list[int]) -> None:
    found = size if condition_map is None else list(condition_map.shape[1:3])
    require(
        found == size,
        f"condition_map must be {size[0]} by {size[1]}, as was exported, got"
        f" {found[0]} by {found[1]}; export the sampler for that size",
    )


def _require_to_fit(program: jax.export.Exported, file: SamplerFile) -> None:
    """Raise unless a program does what its file says, and nothing besides."""
    h = file.header
    height, width, channels = h.condition_map
    given = [
        ((h.num_images,), "int32", h.num_classes),
        ((h.num_images, h.condition_features), "float32", h.condition_features),
        (
            (h.num_images, height, width, channels),
            "int32" if h.condition_levels else "float32",
            channels,
        ),
    ]
    expected = [(x.shape, x.dtype.name) for x in file.weights]
    expected += [((2,), "uint32"), ((), "float32")]
    expected += [(shape, dtype) for shape, dtype, size in given if size]
    drawn = [((h.num_images, h.height, h.width, h.channels), "int32")]
    rule = "a sampler's file must hold a program of what its header says"
    for avals, wanted in ((program.in_avals, expected), (program.out_avals, drawn)):
        found = [(tuple(x.shape), x.dtype.name) for x in avals]
        require(found == wanted, f"{rule}, got one of other shapes; export it again")
    require(
        not leads_elsewhere(program),
        f"{rule}, got one that calls other programs; do not use it",
    )


def _deserialize(file: SamplerFile) -> jax.export.Exported:
    try:
        return jax.export.deserialize(bytearray(file.program))
    except ImportError as error:
        raise UserError(
            "a sampler's file needs the package flatbuffers, which is not installed;"
            " run pip install flatbuffers"
        ) from error
    # The check sum is right: this JAX does not know what another one wrote.
    except Exception as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"a sampler's file must be readable to this JAX, {jax.__version__}, got one"
            f" of {file.header.environment} ({detail:.200}); install that version"
        ) from error
