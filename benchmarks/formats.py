"""Formats that know nothing of the images: what the codec is set beside."""

import importlib
import io
import lzma
import math
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image


class Coder(NamedTuple):
    """Compresses a set of images, and gives it back."""

    pack: Callable[[], bytes]
    unpack: Callable[[bytes], np.ndarray]


def mosaic(images: np.ndarray) -> np.ndarray:
    """All images beside and below each other, ``[rows, columns, C]``."""
    count, height, width, channels = images.shape
    across = math.ceil(math.sqrt(count))
    down = -(-count // across)
    # Filled up with the last image, which costs a good coder next to nothing.
    tiles = images[np.minimum(np.arange(across * down), count - 1)]
    tiles = tiles.reshape(down, across, height, width, channels).swapaxes(1, 2)
    return tiles.reshape(down * height, across * width, channels)


def apart(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The images of this shape that `mosaic` has put together."""
    count, height, width, channels = shape
    tiles = pixels.reshape(len(pixels) // height, height, -1, width, channels)
    return tiles.swapaxes(1, 2).reshape(-1, height, width, channels)[:count]


def picture(images: np.ndarray, kind: str, bits: int, **options: Any) -> Coder:
    """An image format, whose one picture shows all images.

    Its pixels are the levels as they are, so that what they look like is nothing to
    look at.
    """
    channels = images.shape[-1]

    def pack() -> bytes:
        pixels = mosaic(images)
        shown = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        if kind == "PNG" and channels == 1 and bits < 8:
            # Grey has 8 bits in Pillow's PNG, a palette as few as there are colours.
            shown = Image.frombytes("P", shown.size, shown.tobytes())
            shown.putpalette(bytes(range(256)) * 3)
            options["bits"] = bits
        file = io.BytesIO()
        shown.save(file, kind, **options)
        return file.getvalue()

    def unpack(packed: bytes) -> np.ndarray:
        pixels = np.asarray(Image.open(io.BytesIO(packed)))
        # Some formats have colours only.
        pixels = pixels.reshape(*pixels.shape[:2], -1)[..., :channels]
        return apart(pixels, images.shape)

    return Coder(pack, unpack)


def general(images: np.ndarray, levels: int) -> dict[str, Coder]:
    """The formats that know nothing of the images, by name."""

    def of_bytes(pack: Callable[[bytes], bytes], unpack: Callable[[bytes], bytes]):
        raw = images.tobytes()

        def back(packed: bytes) -> np.ndarray:
            return np.frombuffer(unpack(packed), np.uint8).reshape(images.shape)

        return Coder(lambda: pack(raw), back)

    bits = next(b for b in (1, 2, 4, 8) if levels <= 2**b)
    found = {
        "PNG": picture(images, "PNG", bits, optimize=True),
        "WebP lossless": picture(images, "WEBP", 8, lossless=True, quality=100),
    }
    try:
        importlib.import_module("pillow_jxl")
        found["JPEG XL"] = picture(images, "JXL", 8, lossless=True, effort=9)
    except ImportError:
        print("JPEG XL is left out: pip install pillow-jxl-plugin")
    return found | {
        "zlib": of_bytes(lambda raw: zlib.compress(raw, 9), zlib.decompress),
        "lzma": of_bytes(
            lambda raw: lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME),
            lzma.decompress,
        ),
    }
