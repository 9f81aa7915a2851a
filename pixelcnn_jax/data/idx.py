"""The four files of an MNIST-like set, in the IDX format.

TensorFlow Datasets knows where they are, downloads them and knows their checksums;
NumPy reads them.
"""

import gzip
import hashlib
import math
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

from pixelcnn_jax.data.network import require_answer
from pixelcnn_jax.data.source import Builder, Part, Source
from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.files import LARGEST, read_bytes

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def published_files(builder: Builder) -> dict[str, str]:
    """The address of each file of a TensorFlow Datasets builder's set, by its name."""
    return {url.rsplit("/", 1)[-1]: url for url in builder.url_infos or ()}


def load(builder: Builder, folder: Path | None) -> Source:
    """The set from the four files in ``folder``, or downloaded.

    Args:
        builder: the set's TensorFlow Datasets builder; `published_files` are `FILES`.
        folder: where to look first; files that are downloaded are kept in the folder
            of the builder.

    Raises:
        UserError: a file is missing and can't be downloaded, can't be read, or is not
            the published one.
    """
    urls = published_files(builder)
    where = folder
    # One file shows that this folder is meant: what it lacks is then named, and not
    # fetched to somewhere else.
    if where is None or not any((where / file).exists() for file in FILES):
        where = Path(builder.data_dir_root) / "downloads" / builder.name
        if not all((where / file).exists() for file in FILES):
            _download(builder, urls, where, folder)
    missing = [file for file in FILES if not (where / file).exists()]
    require(
        not missing,
        f"{where} must hold the four files of {builder.name}, and lacks"
        f" {', '.join(missing)}; put them there, from"
        f" {urls[FILES[0]]} and beside it",
    )
    contents = {file: _verified(builder, where / file, urls[file]) for file in FILES}

    def part(images_file: str, labels_file: str) -> Part:
        images = decode(contents[images_file], where / images_file, axes=3)
        labels = decode(contents[labels_file], where / labels_file, axes=1)
        require(
            len(labels) == len(images),
            f"{where / labels_file} must hold a label for each of the {len(images)}"
            f" images of {images_file}, got {len(labels)}; get both files again",
        )
        return Part(images[..., None], labels.astype(np.int32))

    num_classes = builder.info.features["label"].num_classes
    return Source(part(*FILES[:2]), part(*FILES[2:]), num_classes)


def _verified(builder: Builder, path: Path, url: str) -> bytes:
    """The content of a file, once it is known to be the published one."""
    try:
        content = read_bytes(path, LARGEST)
    except OSError as error:
        raise UserError(
            f"{path} must be a readable file, got: {error.strerror}; put the published"
            f" one there, from {url}"
        ) from error
    checksum = builder.url_infos[url].checksum
    found = hashlib.sha256(content).hexdigest()
    require(
        found == checksum,
        f"{path} must be the published file of {builder.name} with SHA-256"
        f" {checksum[:16]}..., got {found[:16]}...: truncated, damaged or another"
        f" set's; move it away and get it again from {url}",
    )
    return content


def decode(content: bytes, path: Path, axes: int) -> np.ndarray:
    """The array in a gzipped IDX file of unsigned bytes.

    Source of the format: Y. LeCun, http://yann.lecun.com/exdb/mnist/

    Args:
        content: the file's bytes.
        path: its name, for the errors.
        axes: 3 for images ``[N, H, W]``, 1 for labels ``[N]``.

    Returns:
        uint8, read-only.

    Raises:
        UserError: the file is damaged, or no IDX file of so many axes.
    """
    try:
        content = gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(
            f"{path} must be a whole gzip file, got: {error}; get it again"
        ) from error
    magic = 0x0800 + axes  # 0x08: unsigned bytes
    start = 4 + 4 * axes
    # A file shorter than a header is filled up, to fail below with a sentence. Python's
    # integers, since sizes in a damaged header may overflow others.
    found, *shape = map(int, np.frombuffer(content[:start].ljust(start, b"\0"), ">u4"))
    kind = "images" if axes == 3 else "labels"
    require(
        found == magic and len(content) == start + math.prod(shape),
        f"{path} must be an IDX file of 8-bit {kind}, got another format or length;"
        " get it again",
    )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _download(
    builder: Builder, urls: dict[str, str], where: Path, folder: Path | None
) -> None:
    """Fetch the four files into ``where``, by their published names, verified."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import (
        NonMatchingChecksumError,
    )

    print(f"downloading {builder.name} to {where}", file=sys.stderr)
    try:
        require_answer(urls[FILES[0]])
        where.mkdir(parents=True, exist_ok=True)
        # On the same disk, so that a move is a rename and no half file gets a name.
        with tempfile.TemporaryDirectory(dir=where) as scratch:
            manager = tfds.download.DownloadManager(
                download_dir=scratch,
                url_infos=builder.url_infos,
                force_checksums_validation=True,
            )
            # One by one: if one fails, no other is still writing.
            downloaded = {file: manager.download(urls[file]) for file in FILES}
            for file, path in downloaded.items():
                shutil.move(path, where / file)
    except (OSError, tfds.download.DownloadError, NonMatchingChecksumError) as error:
        place = folder or "a folder"
        raise UserError(
            f"{builder.name} is not on this machine and could not be downloaded"
            f" ({type(error).__name__}); put its four files from"
            f" {urls[FILES[0]].rsplit('/', 1)[0]}/ ({', '.join(FILES)}) into"
            f" {place} and pass data.data_dir with that folder"
        ) from error
