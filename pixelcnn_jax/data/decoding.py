"""One image file to pixels, whoever made it: nothing in it is trusted."""

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.quiet import QUIET

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
"""Of the files that are taken for images, in small letters."""

# Pillow knows more formats, some of which run other programs.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")

MAX_PIXELS = 2**26
"""Of an image: more are taken for a file made to fill the memory."""

GREY_MODES = ("1", "L", "LA", "La")
PALETTE_MODES = ("P", "PA")
ORIENTATION = 0x0112
"""EXIF's tag for how the camera was held."""
PNG_BEGINS = 8
"""Bytes of a PNG before its chunks."""
TURNING = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
"""How texts of a PNG begin that may hold an orientation."""


class Header(NamedTuple):
    """What a file says of its image."""

    height: int
    width: int
    """As it is to be looked at, that is, after EXIF's rotation."""
    channels: int
    """1 grey, 3 colour."""
    deep: bool
    """Whether its grey has 16 bits."""
    alpha: bool
    """Whether it also says how transparent a pixel is."""


def read_header(path: Path) -> Header:
    """What a file says of its image, of which as little as possible is decoded.

    Raises:
        UserError: it is no image file, or one that can't be taken.
    """
    with _opened(path) as image:
        height, width = _size(path, image)
        alpha = image.mode in ("LA", "La", "PA", "RGBA", "RGBa")
        alpha = alpha or "transparency" in image.info
        deep = image.mode.startswith("I")
        grey = deep or _is_grey(image)
        return Header(height, width, 1 if grey else 3, deep, alpha)


def read_pixels(path: Path) -> np.ndarray:
    """The first image of a file, turned as EXIF says, without transparency.

    Returns:
        ``[H, W, 1]`` or ``[H, W, 3]``: uint8, or uint16 if its grey has 16 bits.

    Raises:
        UserError: as for `read_header`, or the file is damaged.
    """
    with _opened(path) as image:
        turned = _turned(image)
        if turned.mode.startswith("I"):
            values = np.asarray(turned)
            require(
                values.min() >= 0 and values.max() < 2**16,
                f"{path} must have at most 16 bits a pixel, got values from"
                f" {values.min()} to {values.max()}; save it with fewer",
            )
            return values.astype(np.uint16)[..., None]
        mode = "L" if _is_grey(turned) else "RGB"
        pixels = np.asarray(_plain(turned).convert(mode))
        return pixels if mode == "RGB" else pixels[..., None]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The file as Pillow opens it, and what goes wrong meanwhile in one line."""
    try:
        # First: to open a pipe or a device may never end.
        require(
            stat.S_ISREG(path.stat().st_mode),
            f"{path} must be a file, got a pipe, a device or a folder; remove it",
        )
        # Pillow warns of large images; the rule below is stricter. Of a file that it
        # opens itself it maps the pixels, and those of turned TIFFs wrongly.
        with (
            QUIET,
            path.open("rb") as file,
            Image.open(file, formats=FORMATS) as image,
        ):
            _require_harmless(path, image)
            yield image
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(
            f"{path} must fit in memory when it is decoded, got more than is free; make"
            " room, or save it again if it is small"
        ) from error
    except Image.DecompressionBombError as error:
        raise UserError(_too_large(path, "far more")) from error
    except Exception as error:  # Pillow raises whatever damaged files make it meet
        detail = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path} must be a whole image file ({', '.join(FORMATS)}), got: {detail};"
            " remove it or save it again"
        ) from error


def _size(path: Path, image: Image.Image) -> tuple[int, int]:
    """Height and width of an image, not yet decoded, once it is turned."""
    width, height = image.size
    if isinstance(image, TiffImageFile):
        # As they are stored: whether Pillow's are turned depends on its version.
        width, height = (int(image.tag_v2[x]) for x in (IMAGEWIDTH, IMAGELENGTH))
    # Pillow decodes a whole PNG to see whether an orientation follows its pixels.
    if image.format == "PNG" and not _may_be_turned(path):
        return height, width
    across = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
    return (width, height) if across else (height, width)


def _may_be_turned(path: Path) -> bool:
    """Whether a PNG has a chunk, anywhere, of a kind that may hold an orientation."""
    with path.open("rb") as file:
        file.seek(PNG_BEGINS)
        while len(head := file.read(8)) == 8:
            kind, next_chunk = head[4:], file.tell() + int.from_bytes(head[:4]) + 4
            is_text = kind in (b"tEXt", b"zTXt", b"iTXt")
            if kind == b"eXIf" or (
                is_text and file.read(max(map(len, TURNING))).startswith(TURNING)
            ):
                return True
            file.seek(next_chunk)
    return False


def _turned(image: Image.Image) -> Image.Image:
    """Decoded and turned as EXIF says."""
    image.load()
    # Pillow turns a TIFF as it decodes it; some versions would then turn it again.
    return image if image.format == "TIFF" else ImageOps.exif_transpose(image)


def _require_harmless(path: Path, image: Image.Image) -> None:
    width, height = image.size
    require(width * height <= MAX_PIXELS, _too_large(path, f"{height} x {width}"))
    require(
        image.mode != "F",
        f"{path} must hold integers, got floats; save it with 8 or 16 bits a pixel",
    )


def _too_large(path: Path, found: str) -> str:
    return (
        f"{path} must have at most {MAX_PIXELS} pixels, got {found}: what claims more"
        " may be made to fill the memory; cut it into pieces"
    )


def _is_grey(image: Image.Image) -> bool:
    """Whether it is grey by its kind or, of a palette, by the colours in use."""
    if image.mode not in PALETTE_MODES:
        return image.mode in GREY_MODES
    colours = np.asarray(_plain(image))
    return bool((colours == colours[..., :1]).all())


def _plain(image: Image.Image) -> Image.Image:
    """Without a palette, which says what its numbers mean."""
    if image.mode not in PALETTE_MODES:
        return image
    # By way of RGBA, since a palette may say what is transparent.
    return image.convert("RGBA").convert("RGB")
