"""The file of compressed images: what stands before the coded pixels.

* ``PXL1`` and the CRC-32 of all that follows.
* Varints: images, height, width, channels, and the length of the text that follows.
* The text: versions of what computes the probabilities, type of machine, kind of
  device, and on accelerators its platform's version. Deflated, with words that are
  likely there known to both sides.
* Fingerprints of the model and of its weights, a checksum of the images.
* The coder's words, 32 bits each, little-endian.

Every byte counts: a hundred digits take little more than a kilobyte.
"""

import hashlib
import zlib
from typing import NamedTuple

import numpy as np

from pixelcnn_jax.errors import UserError, require

LONGEST_TEXT = 4096
"""Letters, however few bytes they are packed into."""
MAGIC = b"PXL1"
WORDS = (
    b"TPU v5 lite TPU v6e TPU v4 NVIDIA A100-SXM4-80GB NVIDIA H200 NVIDIA H100 80GB"
    b" HBM3 arm64 aarch64 AMD64 cpu pixelcnn_jax 0.2.0 jax 0.10.2 jaxlib 0.10.2"
    b" constriction 0.5.0 x86_64 cpu"
)
"""What the text may be made of, the likeliest last. Part of the format."""
# Mix-ups are accidents, not attacks: a few bytes miss one in 2**32 or 2**48.
MODEL, WEIGHTS, IMAGES = 4, 6, 6
"""Bytes of each fingerprint."""


class Container(NamedTuple):
    """A file of compressed images."""

    shape: tuple[int, ...]
    """Images, height, width, channels."""
    environment: str
    """The versions and the machine that wrote it."""
    model: bytes
    """Fingerprint of the model's settings."""
    weights: bytes
    """Fingerprint of its weights."""
    images: bytes
    """Checksum of the images, see `checksum`."""
    words: np.ndarray
    """uint32, what the coder wrote."""

    def to_bytes(self) -> bytes:
        """The file."""
        text = _deflate(self.environment)
        numbers = b"".join(map(_varint, (*self.shape, len(text))))
        words = self.words.astype("<u4").tobytes()
        body = numbers + text + self.model + self.weights + self.images + words
        return MAGIC + zlib.crc32(body).to_bytes(4, "little") + body

    @classmethod
    def from_bytes(cls, data: bytes) -> "Container":
        """Read a file.

        Raises:
            UserError: it is none, or damaged.
        """
        require(
            data[:4] == MAGIC,
            f"the compressed data must begin with {MAGIC.decode()}, got"
            f" {data[:4]!r}; pass what compress wrote",
        )
        body = data[8:]
        require(
            zlib.crc32(body).to_bytes(4, "little") == data[4:8],
            "the compressed data must be whole, got a wrong check sum: they are"
            " truncated or damaged; copy the file again",
        )
        try:
            return cls._from_body(body)
        except (IndexError, ValueError, zlib.error) as error:
            raise UserError(
                "the compressed data must be what compress writes, got"
                f" {type(error).__name__} while reading them; compress again"
            ) from error

    @classmethod
    def _from_body(cls, body: bytes) -> "Container":
        numbers, place = [], 0
        for _ in range(5):
            number, place = _read_varint(body, place)
            numbers.append(number)
        *shape, length = numbers
        # As many as keys can count, and nothing of no pixels.
        if not all(0 < number < 2**31 for number in shape):
            raise ValueError("a shape that images can't have")
        parts = []
        for size in (length, MODEL, WEIGHTS, IMAGES):
            parts.append(body[place : place + size])
            place += size
        text, model, weights, images = parts
        words = np.frombuffer(body[place:], "<u4").astype(np.uint32)
        return cls(tuple(shape), _inflate(text), model, weights, images, words)


def _deflate(text: str) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_FIXED, WORDS)
    return packer.compress(text.encode()) + packer.flush()


def _inflate(data: bytes) -> str:
    return zlib.decompressobj(-15, WORDS).decompress(data, LONGEST_TEXT).decode()


def _varint(number: int) -> bytes:
    """Seven bits per byte, the lowest first; the highest bit says that more follow."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    """The number at a place, and the place after it."""
    number = shift = 0
    while data[place] & 0x80:
        if shift > 63:
            raise ValueError("a number without end")
        number |= (data[place] & 0x7F) << shift
        place, shift = place + 1, shift + 7
    return number | data[place] << shift, place + 1


def fingerprint(content: bytes, length: int) -> bytes:
    """The first bytes of the SHA-256."""
    return hashlib.sha256(content).digest()[:length]


def checksum(images: np.ndarray) -> bytes:
    """That of a file's images."""
    return fingerprint(images.astype("<i4").tobytes(), IMAGES)
