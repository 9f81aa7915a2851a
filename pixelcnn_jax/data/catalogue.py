"""Image sets of the TensorFlow Datasets catalogue, without TensorFlow where possible.

The MNIST-like sets are four files in the IDX format; TensorFlow Datasets knows where
they are, downloads them and knows their checksums, and NumPy reads them. A set that is
prepared on disk as ``array_record`` is read without TensorFlow too. Only preparing
another set, or reading one prepared as ``tfrecord``, needs TensorFlow.
"""

import difflib
import gzip
import hashlib
import importlib.util
import math
import shutil
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from pixelcnn_jax.errors import UserError, require

Images = np.ndarray | list[np.ndarray]
"""uint8 ``[N, H, W, C]``, or a list of ``[H, W, C]`` where sizes differ."""

IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)

INSTALL_TENSORFLOW = "pip install tensorflow-cpu"


def load(name: str, data_dir: str | None) -> tuple[Images, Images]:
    """Training and test images of a set of the catalogue, uint8.

    Args:
        name: the set's name in TensorFlow Datasets, such as "fashion_mnist".
        data_dir: a folder with the four files of an MNIST-like set, or a TensorFlow
            Datasets folder; None is ``~/tensorflow_datasets``.

    Raises:
        UserError: the set or the folder is unknown, nothing is on disk and nothing can
            be downloaded, or a file is damaged.
    """
    folder = None if data_dir is None else Path(data_dir).expanduser()
    require(
        folder is None or folder.is_dir(),
        f"data.data_dir must be an existing folder, got {data_dir}; create it or name"
        " the one that holds the files",
    )
    builder = _builder(name, folder)
    if builder.info.splits:
        return _read_prepared(builder)
    urls = {url.rsplit("/", 1)[-1]: url for url in builder.url_infos}
    if set(urls) == set(IDX_FILES):
        return _read_idx_set(builder, urls, folder)
    _prepare(builder)
    return _read_prepared(_builder(name, folder))


def _builder(name: str, folder: Path | None) -> Any:
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=folder, try_gcs=False)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        names = ["digits", *tfds.list_builders(with_community_datasets=False)]
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(
            "data.source must be digits or an image set of the TensorFlow Datasets"
            f" catalogue, got {name}{hint}"
        ) from error


# --- the four files of an MNIST-like set


def _read_idx_set(
    builder: Any, urls: dict[str, str], folder: Path | None
) -> tuple[Images, Images]:
    checksums = {file: builder.url_infos[urls[file]].checksum for file in IDX_FILES}
    where = folder
    if where is None or not any((where / file).exists() for file in IDX_FILES):
        where = Path(builder.data_dir).parents[1] / "downloads" / builder.name
        if not all((where / file).exists() for file in IDX_FILES):
            _download(builder, urls, where, folder)
    missing = [file for file in IDX_FILES if not (where / file).exists()]
    require(
        not missing,
        f"{where} must hold the four files of {builder.name}, and lacks"
        f" {', '.join(missing)}; put them there, from"
        f" {urls[IDX_FILES[0]]} and beside it",
    )
    for file, checksum in checksums.items():
        found = hashlib.sha256((where / file).read_bytes()).hexdigest()
        require(
            found == checksum,
            f"{where / file} must be the published file of {builder.name} with SHA-256"
            f" {checksum[:16]}..., got {found[:16]}...: truncated, damaged or another"
            f" set's; delete it and get it again from {urls[file]}",
        )
    return read_idx(where / IDX_FILES[0]), read_idx(where / IDX_FILES[2])


def read_idx(path: Path) -> np.ndarray:
    """The images of a gzipped IDX file, uint8 ``[N, H, W, 1]``.

    Source of the format: Y. LeCun, http://yann.lecun.com/exdb/mnist/

    Raises:
        UserError: the file is damaged or no IDX file of 8-bit images.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(
            f"{path} must be a whole gzip file, got: {error}; get it again"
        ) from error
    magic = 0x0803  # unsigned bytes, three axes
    header = np.frombuffer(content[:16].ljust(16, b"\0"), ">u4")
    require(
        header[0] == magic and len(content) == 16 + math.prod(map(int, header[1:])),
        f"{path} must be an IDX file of 8-bit images, got another format or length;"
        " get it again",
    )
    count, height, width = map(int, header[1:])
    return np.frombuffer(content, np.uint8, offset=16).reshape(count, height, width, 1)


def _download(
    builder: Any, urls: dict[str, str], where: Path, folder: Path | None
) -> None:
    """Fetch the four files into ``where``, by their published names, verified."""
    import requests
    import tensorflow_datasets as tfds

    print(f"downloading {builder.name} to {where}", file=sys.stderr)
    try:
        # TensorFlow Datasets would try for minutes before it gave up.
        requests.head(urls[IDX_FILES[0]], timeout=5, allow_redirects=True)
        where.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=where) as scratch:
            manager = tfds.download.DownloadManager(
                download_dir=scratch,
                url_infos=builder.url_infos,
                force_checksums_validation=True,
            )
            downloaded: Any = manager.download(urls)
            for file, path in downloaded.items():
                shutil.move(path, where / file)
    except (OSError, tfds.download.DownloadError) as error:
        place = folder or "a folder"
        raise UserError(
            f"{builder.name} is not on this machine and could not be downloaded"
            f" ({type(error).__name__}); put its four files from"
            f" {urls[IDX_FILES[0]].rsplit('/', 1)[0]}/ ({', '.join(IDX_FILES)}) into"
            f" {place} and pass --data.data-dir with that folder"
        ) from error


# --- sets prepared by TensorFlow Datasets


def _read_prepared(builder: Any) -> tuple[Images, Images]:
    splits = builder.info.splits
    require(
        "image" in builder.info.features and "train" in splits,
        f"{builder.name} must have a feature 'image' and a split 'train' to be learnt,"
        f" got {', '.join(builder.info.features)} and {', '.join(splits)};"
        " choose another set",
    )
    names = [name for name in ("test", "validation") if name in splits]
    parts = ("train", names[0]) if names else ("train[:90%]", "train[90%:]")
    train, test = (_read_split(builder, part) for part in parts)
    return train, test


def _read_split(builder: Any, split: str) -> Images:
    if str(builder.info.file_format.value) == "tfrecord":
        _require_tensorflow(
            f"{builder.name} is prepared in {builder.data_path} as tfrecord, which"
            " TensorFlow alone reads"
        )
        import tensorflow_datasets as tfds

        examples = tfds.as_numpy(builder.as_dataset(split=split))
    else:
        examples = builder.as_data_source(split)
    images = [np.asarray(example["image"]) for example in examples]
    same_size = len({image.shape for image in images}) == 1
    return np.stack(images) if same_size else images


def _prepare(builder: Any) -> None:
    _require_tensorflow(
        f"{builder.name} is not prepared in {builder.data_dir}, and preparing it needs"
        " TensorFlow, once"
    )
    try:
        builder.download_and_prepare(file_format="array_record")
    except Exception as error:  # whatever the set's own script raises
        raise UserError(
            f"{builder.name} must be prepared before use, and TensorFlow Datasets"
            f" could not: {str(error).splitlines()[0]}"
        ) from error


def _require_tensorflow(reason: str) -> None:
    require(
        importlib.util.find_spec("tensorflow") is not None,
        f"{reason}; install it with: {INSTALL_TENSORFLOW}",
    )
