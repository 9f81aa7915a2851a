"""Image sets of the TensorFlow Datasets catalogue, without TensorFlow if possible.

The MNIST-like sets are four files that NumPy reads (see `idx`). A set that is prepared
on disk as ``array_record`` is read without TensorFlow too. Only preparing another set,
or reading one prepared as ``tfrecord``, needs TensorFlow.
"""

import contextlib
import difflib
import importlib.util
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pixelcnn_jax.data import idx
from pixelcnn_jax.data.network import require_answer
from pixelcnn_jax.data.source import Builder, Part, Source
from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.files import LARGEST, read_bytes

DEFAULT_DIR = "~/tensorflow_datasets"
INSTALL_TENSORFLOW = "pip install tensorflow-cpu"


def load(name: str, data_dir: str | None) -> Source:
    """An image set of the catalogue.

    Args:
        name: the set's name in TensorFlow Datasets, such as "fashion_mnist".
        data_dir: a folder with the four files of an MNIST-like set, or a TensorFlow
            Datasets folder; None is ``~/tensorflow_datasets``.

    Raises:
        UserError: the set or the folder is unknown, nothing is on disk and nothing can
            be downloaded, or a file is damaged or unreadable.
    """
    try:
        folder = None if data_dir is None else Path(os.path.expanduser(data_dir))
        require(
            folder is None or folder.is_dir(),
            f"data.data_dir must be an existing folder, got {data_dir}; create it or"
            " name the one that holds the files",
        )
        return _load(name, folder)
    except OSError as error:
        raise UserError(
            f"the files of {name} must be readable, got: {error}; mend that, or pass"
            " data.data_dir with another folder"
        ) from error


def _load(name: str, folder: Path | None) -> Source:
    builder = _builder(name, folder)
    # TensorFlow Datasets knows splits only of sets that are prepared on disk.
    if builder.info.splits:
        return _read_prepared(builder)
    if set(idx.published_files(builder)) == set(idx.FILES):
        return idx.load(builder, folder)
    _require_images(builder)
    _prepare(builder)
    return _read_prepared(_builder(name, folder))


def known_names() -> list[str]:
    """The sets that there are, without versions."""
    import tensorflow_datasets as tfds

    return ["digits", *tfds.list_builders(with_community_datasets=False)]


def _builder(name: str, folder: Path | None) -> Builder:
    import tensorflow_datasets as tfds

    found = difflib.get_close_matches(name, known_names(), n=1)
    close = [x for x in found if x != name]
    hint = f"; did you mean {close[0]}?" if close else ""
    path = name if name.startswith((".", "/", "~")) else f"./{name}"
    unknown = (
        "data.source must be digits or an image set of the TensorFlow Datasets"
        f" catalogue, got {name}{hint}; for a folder of images of your own pass"
        f" data.path {path}"
    )
    # "huggingface:name" and the like would run code that was downloaded.
    require(re.fullmatch(r"\w+(/[^:]+)?(:[\d.*]+)?", name) is not None, unknown)
    _require_harmless(_place(name, folder))
    try:
        return tfds.builder(name, data_dir=folder, try_gcs=False)
    except tfds.core.DatasetNotFoundError as error:
        raise UserError(unknown) from error
    except Exception as error:  # whatever the set's own script or its files raise
        if isinstance(error, ImportError):
            _require_tensorflow(f"{name} needs TensorFlow")
        there = ", ".join(_versions(name, folder)) or "none"
        raise UserError(
            f"{name} must be a set that TensorFlow Datasets can open, got"
            f" {_line(error)}; choose another, or prepare it again; of its versions,"
            f" data.data_dir ({folder or DEFAULT_DIR}) holds {there}"
        ) from error


def _versions(name: str, folder: Path | None) -> list[str]:
    """The versions of a set that are prepared on disk."""
    with contextlib.suppress(OSError):
        place = _place(name, folder)
        names = [path.name for path in place.iterdir() if path.is_dir()]
        return sorted(x for x in names if re.fullmatch(r"\d+\.\d+\.\d+", x))
    return []


def _place(name: str, folder: Path | None) -> Path:
    """Where the set, or one configuration of it, would be prepared."""
    return (folder or Path(DEFAULT_DIR).expanduser()) / name.split(":")[0]


def _require_harmless(place: Path) -> None:
    """Nothing to wait for, and no class that TensorFlow Datasets would import."""
    for path in [*place.glob("*/*"), *place.glob("*/*/*")]:
        require(
            path.is_dir() or path.is_file(),
            f"{path} must be a file, got a pipe, a device or a broken link; remove it",
        )
        if path.name not in ("features.json", "dataset_info.json") or path.is_dir():
            continue
        names: list[str] = []
        # What can't be parsed here can't be there, where it becomes an error.
        with contextlib.suppress(ValueError, RecursionError):
            names = list(_classes(json.loads(read_bytes(path, LARGEST))))
        for name in names:
            own = name.startswith("tensorflow_datasets.core.features.")
            require(
                own or "." not in name,
                f"{path} must name features of TensorFlow Datasets, got {name!r},"
                " which would be imported; prepare the set again",
            )


def _classes(value: object) -> Iterator[str]:
    """The names of classes in the description of features, old and new."""
    keys = ("pythonClassName", "python_class_name", "type")
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in keys and isinstance(inner, str):
                yield inner
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _classes(inner)


def _line(error: Exception) -> str:
    return " ".join([f"{type(error).__name__}:", *str(error).splitlines()[:1]])


# --- sets prepared by TensorFlow Datasets


def _require_images(builder: Builder) -> None:
    import tensorflow_datasets as tfds

    image_type: Any = tfds.features.Image
    features = dict(builder.info.features or {})
    image: Any = features.get("image")
    require(
        isinstance(image, image_type)
        and image.np_dtype == np.uint8
        and image.shape[-1] is not None,
        f"{builder.name} must have a feature 'image', 8-bit and with a known number of"
        f" channels, to be learnt, got {' '.join(str(image or list(features)).split())}"
        "; choose another set",
    )


def _read_prepared(builder: Builder) -> Source:
    _require_images(builder)
    splits = builder.info.splits
    require(
        "train" in splits,
        f"{builder.name} must have a split 'train' to be learnt, got"
        f" {', '.join(splits)}; choose another set",
    )
    names = [name for name in ("test", "validation") if name in splits]
    # A set without a second split gives the last tenth of its images for tests.
    parts = ("train", names[0]) if names else ("train[:90%]", "train[90%:]")
    num_classes = _num_classes(builder)
    train, test = (_read_split(builder, part, num_classes > 0) for part in parts)
    # Sets such as binarized_mnist hold 0 and 1, which are no shades of black.
    binary = max(int(image.max()) for image in train.images) <= 1
    return Source(train, test, num_classes, levels=2 if binary else 256)


def _num_classes(builder: Builder) -> int:
    import tensorflow_datasets as tfds

    label = dict(builder.info.features).get("label")
    classes = isinstance(label, tfds.features.ClassLabel)
    return (label.num_classes or 0) if classes else 0


def _read_split(builder: Builder, split: str, labelled: bool) -> Part:
    tfrecord = str(builder.info.file_format.value) == "tfrecord"
    if tfrecord:
        _require_tensorflow(
            f"{builder.name} is prepared in {builder.data_path} as tfrecord, which"
            " TensorFlow alone reads"
        )
    images, labels = [], []
    try:
        for example in _examples(builder, split, tfrecord):
            images.append(np.asarray(example["image"]))
            labels.append(example["label"] if labelled else -1)
        same_size = len({image.shape for image in images}) <= 1
        return Part(
            np.stack(images) if same_size else images,
            np.array(labels, np.int32) if labelled else None,
        )
    except MemoryError:
        # No fault of the files: to prepare them again would not help.
        raise
    except Exception as error:  # the readers raise errors of many kinds
        raise UserError(
            f"{builder.name} must be whole in {builder.data_path}, got {_line(error)};"
            " move that folder away and prepare the set again"
        ) from error


def _examples(builder: Builder, split: str, tfrecord: bool) -> Any:
    import tensorflow_datasets as tfds

    if tfrecord:
        return tfds.as_numpy(builder.as_dataset(split=split))
    return builder.as_data_source(split)


def _prepare(builder: Builder) -> None:
    _require_tensorflow(
        f"{builder.name} is not prepared in {builder.data_dir}, and preparing it needs"
        " TensorFlow, once"
    )
    try:
        # Whatever lies on disk: something may yet be missing.
        if builder.url_infos:
            require_answer(next(iter(builder.url_infos)))
        builder.download_and_prepare(file_format="array_record")
    except Exception as error:  # whatever the set's own script raises
        raise UserError(
            f"{builder.name} must be prepared before use, and TensorFlow Datasets"
            f" could not: {_line(error)}"
        ) from error


def _require_tensorflow(reason: str) -> None:
    require(
        importlib.util.find_spec("tensorflow") is not None,
        f"{reason}; install it with: {INSTALL_TENSORFLOW}",
    )
