"""Images that commands read and write."""

import io
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pixelcnn_jax import pictures
from pixelcnn_jax.arrays import is_of_numbers, kind_of, why_unread
from pixelcnn_jax.data import decoding
from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.files import LARGEST, read_bytes, try_to_write, write_bytes


def require_writable(
    output: Path, suffixes: tuple[str, ...], field: str = "output"
) -> None:
    """Raise unless this file can be written, and before any work is done for it."""
    *most, last = suffixes
    named = f"{', '.join(most)} or {last}" if most else last
    require(
        output.suffix in suffixes,
        f"{field} must end in {named}, got {output}; try {output.stem}{suffixes[0]}",
    )
    rule = f"{field} must be a file that can be written, in an existing folder, got"
    try:
        writable = (
            output.parent.is_dir()
            and (output.is_file() or not output.exists())
            # A file that was protected is not to be replaced.
            and (not output.exists() or os.access(output, os.W_OK))
        )
        require(writable, f"{rule} {output}")
        try_to_write(output)
    except OSError as error:  # a name that is too long, a folder that is protected
        raise UserError(f"{rule} {output} ({error.strerror})") from error


def require_different(
    written: Mapping[str, str | None], read: Mapping[str, str | None]
) -> None:
    """Raise if a file that is to be written is named by another flag, too.

    Args:
        written: the files that flags name to be written.
        read: those to be read.
    """
    places: dict[str, str] = {}
    for field, name in [*written.items(), *read.items()]:
        if name is None:
            continue
        place = os.path.realpath(name)
        other = places.get(place)
        require(
            other is None,
            f"{field} must be another file than {other}, which would overwrite it,"
            f" got {name} for both",
        )
        if field in written:
            places[place] = field


def write(output: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        UserError: it can't be written.
    """
    try:
        write_bytes(output, content)
    except OSError as error:
        raise UserError(f"{output} could not be written: {error.strerror}") from error


def write_images(
    output: Path, images: np.ndarray, levels: int, labels: np.ndarray | None
) -> None:
    """Images in the format that the file's name asks for: .png, .npy or .npz."""
    file = io.BytesIO()
    if output.suffix == ".png":
        file.write(pictures.to_png(pictures.grid(images, levels, labels)))
    elif output.suffix == ".npy":
        np.save(file, images)
    elif labels is None:
        np.savez_compressed(file, images=images, levels=levels)
    else:
        np.savez_compressed(file, images=images, levels=levels, labels=labels)
    write(output, file.getvalue())


def read_images(field: str, path: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Images ``[N, H, W, C]`` of a .npy or .npz file, and labels if it has some.

    Args:
        field: what asks for the file, for messages.
        path: of an array, or of arrays ``images`` and perhaps ``labels``.

    Raises:
        UserError: it can't be read, or holds something else.
    """
    arrays = read_arrays(field, path, ("images",), ("labels",))
    images, labels = arrays["images"], arrays.get("labels")
    require(
        labels is None or labels.shape == images.shape[:1],
        f"{field} must hold a label for each image, got {path} with labels of shape"
        f" {[] if labels is None else list(labels.shape)}",
    )
    return images, labels


def read_mask(field: str, path: str) -> np.ndarray:
    """Which pixels are known, bool ``[H, W]`` or ``[N, H, W]``.

    A picture is known where it is white; an array (``known``, if there are several)
    where it is not 0.

    Raises:
        UserError: it can't be read, or holds something else.
    """
    if not path.endswith((".npy", ".npz")):
        try:
            pixels = decoding.read_pixels(Path(path))
        except UserError as error:
            raise UserError(
                f"{field} must be a picture, .npy or .npz, got {path} ({error})"
            ) from error
        if pixels.shape[-1] == 3:
            pixels = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
        return pixels[..., 0] > np.iinfo(pixels.dtype).max // 2
    arrays = read_arrays(field, path, (), ("known", "images"))
    require(
        bool(arrays), f"{field} must hold an array named known, got {path} without it"
    )
    return next(iter(arrays.values())) != 0


def _content(path: str) -> bytes:
    return read_bytes(Path(path), LARGEST)


def _require_small(content: io.BytesIO) -> None:
    """Raise ValueError if it is an archive that would fill the memory."""
    if zipfile.is_zipfile(content):
        with zipfile.ZipFile(content) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > LARGEST:
            raise ValueError(f"arrays of more than {LARGEST} bytes")
    content.seek(0)


def read_arrays(
    field: str, path: str, needed: Sequence[str], others: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """The arrays of numbers in a file by name; that of a .npy file is ``images``.

    Args:
        field: what asks for the file, for messages.
        path: of a .npy or a .npz file.
        needed: names of arrays that must be there.
        others: names of arrays that are read if they are there.

    Raises:
        UserError: the file can't be read, lacks them, or has something else than
            numbers by one of the names.
    """
    try:
        content = io.BytesIO(_content(path))
        _require_small(content)
        loaded = np.load(content, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            stored, found = ["images"], {"images": loaded}
        else:
            with loaded:
                stored, names = loaded.files, (*needed, *others)
                found = {name: loaded[name] for name in names if name in stored}
    except OSError as error:
        raise UserError(
            f"{field} must be a .npy or .npz file of numbers, got {path}"
            f" ({error.strerror or error}); pass one that can be read"
        ) from error
    # NumPy raises whatever a damaged archive makes it stumble over.
    except Exception as error:
        raise UserError(
            f"{field} must be a .npy or .npz file of numbers, got {path}"
            f" ({why_unread(error)}); save it again with numpy.save or numpy.savez"
        ) from error
    for name, array in found.items():
        require(
            is_of_numbers(array),
            f"{field} must be a .npy or .npz file of numbers, got {path} with {name} of"
            f" {kind_of(array)}",
        )
    for name in needed:
        require(
            name in found,
            f"{field} must hold an array named {name}, got {path} with"
            f" {', '.join(stored) or 'none'}",
        )
    return found
