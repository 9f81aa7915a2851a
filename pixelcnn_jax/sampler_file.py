"""The file of an exported sampler.

* ``PXS`` and the format's version, one byte.
* The SHA-256 of all that follows.
* The header's length, four bytes, little-endian; the header, which is JSON.
* The program, as `jax.export` serializes it; then the weights, one after another.

It is data throughout: nothing of it is run but the program, which computes images from
numbers; one that would call anything outside of XLA is refused.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pixelcnn_jax.errors import UserError, require

MAGIC = b"PXS"
VERSION = b"1"
_SUM = slice(4, 36)

TYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("bfloat16", "float16", "float32", "float64"),
)
"""Of weights. NumPy would take any text for a type, and evaluates some of them."""


# Any: what jax.export makes, which this module does not import.
def leads_elsewhere(program: Any) -> bool:
    """Whether a program calls what a machine's libraries have registered."""
    return "custom_call" in program.mlir_module()


class Header(NamedTuple):
    """What the sampler draws, and what wrote it."""

    num_images: int
    height: int
    width: int
    channels: int
    levels: int
    num_classes: int
    """0: it takes no labels."""
    environment: str
    """The model's kind, and the versions that exported it."""
    condition_features: int = 0
    """Of the vector that each image is conditioned on; 0: it takes none."""
    condition_map: Sequence[int] = (0, 0, 0)
    """Height, width and channels of the map that each image is conditioned on; no
    channels: it takes none."""
    condition_levels: int = 0
    """That an integer map can take; 0: it is of floats."""


class SamplerFile(NamedTuple):
    """A sampler on disk."""

    header: Header
    program: bytes
    weights: list[np.ndarray]

    def to_bytes(self) -> bytes:
        """The file."""
        arrays = [np.ascontiguousarray(x) for x in self.weights]
        text = json.dumps(
            {
                **self.header._asdict(),
                "program": len(self.program),
                "weights": [[x.dtype.name, list(x.shape)] for x in arrays],
            }
        ).encode()
        parts = [len(text).to_bytes(4, "little"), text, self.program]
        body = b"".join([*parts, *(x.tobytes() for x in arrays)])
        return MAGIC + VERSION + hashlib.sha256(body).digest() + body

    @classmethod
    def from_bytes(cls, data: bytes) -> "SamplerFile":
        """Read a file.

        Raises:
            UserError: it is none, of a later version, or damaged.
        """
        require(
            data[:3] == MAGIC,
            f"a sampler's file must begin with {MAGIC.decode()}, got {data[:3]!r}; pass"
            " what export_sampler wrote",
        )
        require(
            data[3:4] == VERSION,
            f"a sampler's file must have format {VERSION.decode()}, got {data[3:4]!r};"
            " a newer pixelcnn_jax may read it",
        )
        body = data[_SUM.stop :]
        require(
            hashlib.sha256(body).digest() == data[_SUM],
            "a sampler's file must be whole, got a wrong check sum: it is truncated or"
            " damaged; copy it again",
        )
        try:
            return cls._from_body(body)
        # The sum is right, so somebody else's program wrote this.
        except (
            KeyError,
            TypeError,
            ValueError,
            OverflowError,
            RecursionError,
        ) as error:
            raise UserError(
                "a sampler's file must be what export_sampler writes, got"
                f" {type(error).__name__} while reading it; export it again"
            ) from error

    @classmethod
    def _from_body(cls, body: bytes) -> "SamplerFile":
        place = 4 + int.from_bytes(body[:4], "little")
        fields = json.loads(body[4:place])
        known = {name: fields[name] for name in Header._fields if name in fields}
        header = Header(**known)
        header = header._replace(condition_map=tuple(header.condition_map))
        map_sizes = header.condition_map
        numbers = header._asdict().keys() - {"environment", "condition_map"}
        sizes = (*map_sizes, *(getattr(header, name) for name in numbers))
        if len(map_sizes) != 3 or not all(map(_is_size, sizes)):
            raise ValueError("a header with sizes that are none")
        program = body[place : place + fields["program"]]
        place += len(program)
        weights = []
        for name, shape in fields["weights"]:
            if name not in TYPES or not all(map(_is_size, shape)):
                raise ValueError("weights of a type or a shape that they can't have")
            flat = np.frombuffer(body, name, math.prod(shape), place)
            weights.append(flat.reshape(shape))
            place += flat.nbytes
        return cls(header, program, weights)


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**31
