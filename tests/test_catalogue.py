"""Image sets from files and catalogue: what is missing or damaged is named, at once."""

import dataclasses
import functools
import gzip
import hashlib
import http.server
import os
import shutil
import struct
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pixelcnn_jax as pj
from pixelcnn_jax import data
from pixelcnn_jax.config import DataConfig
from pixelcnn_jax.data import catalogue, idx
from tests.conftest import DATA_DIR, needs_real_data

BOOK = pj.PixelCNNConfig()


# --- the four files of an MNIST-like set


def idx_file(values: np.ndarray, number_type: int = 8) -> bytes:
    axes = values.ndim
    head = struct.pack(f">HBB{axes}I", 0, number_type, axes, *values.shape)
    return gzip.compress(head + values.tobytes())


def small_mnist(part: str) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of a small set; no two images are alike."""
    seed, count = {"train": (0, 30), "t10k": (1, 8)}[part]
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 4, 4), dtype=np.uint8)
    return images, rng.integers(0, 10, count, dtype=np.uint8)


def url_infos(folder: Path, address: str) -> dict:
    """What TensorFlow Datasets would know about the files in a folder."""
    from tensorflow_datasets.core.download.checksums import UrlInfo
    from tensorflow_datasets.core.utils import Size

    infos = {}
    for name in idx.FILES:
        content = (folder / name).read_bytes()
        checksum = hashlib.sha256(content).hexdigest()
        infos[address + name] = UrlInfo(Size(len(content)), checksum, name)
    return infos


@pytest.fixture
def published(tmp_path: Path, monkeypatch) -> Path:
    """A folder that is served on this machine as where a small set is published."""
    from tensorflow_datasets.core.features import ClassLabel

    folder = tmp_path / "published"
    folder.mkdir()
    for part in ("train", "t10k"):
        images, labels = small_mnist(part)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx_file(images))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx_file(labels))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    serve = functools.partial(server.serve_forever, poll_interval=0.01)
    threading.Thread(target=serve, daemon=True).start()
    builder = types.SimpleNamespace(
        name="small_mnist",
        info=types.SimpleNamespace(
            splits={}, features={"label": ClassLabel(num_classes=10)}
        ),
        url_infos=url_infos(folder, f"http://127.0.0.1:{server.server_port}/"),
        data_dir_root=tmp_path / "tfds",
    )
    monkeypatch.setattr(catalogue, "_builder", lambda name, folder: builder)
    yield folder
    server.shutdown()
    server.server_close()


SMALL = pj.PixelCNNConfig.tiny(height=4, width=4, levels=256)


def load_small(data_dir: Path | None) -> data.Splits:
    place = None if data_dir is None else str(data_dir)
    config = DataConfig(source="small_mnist", data_dir=place, validation_images=10)
    return data.load(config, SMALL)


def test_four_local_files_are_read_and_labels_stay_with_their_images(published: Path):
    found = load_small(published)
    assert found.num_classes == 10
    assert (len(found.train), len(found.validation), len(found.test)) == (20, 10, 8)
    seen = []
    for part in (found.train, found.validation):
        assert part.images.shape[1:] == (4, 4, 1) and part.labels.dtype == np.int32
        seen += zip(map(bytes, part.images), part.labels, strict=True)
    images, labels = small_mnist("train")
    assert sorted(seen) == sorted(zip(map(bytes, images), labels, strict=True))
    images, labels = small_mnist("t10k")
    assert (found.test.images[..., 0] == images).all()
    assert (found.test.labels == labels).all()


def test_a_set_is_downloaded_once_and_verified(published: Path, tmp_path: Path):
    downloaded = load_small(None)
    here = load_small(published)
    assert (downloaded.train.images == here.train.images).all()
    where = tmp_path / "tfds" / "downloads" / "small_mnist"
    assert {path.name for path in where.iterdir()} == set(idx.FILES)
    for path in published.iterdir():
        path.unlink()  # now there is nothing to download
    assert (load_small(None).train.images == downloaded.train.images).all()


def test_a_damaged_download_is_refused(published: Path, tmp_path: Path):
    (published / idx.FILES[3]).write_bytes(b"please log in")
    with pytest.raises(pj.UserError, match="downloaded .NonMatchingChecksumError"):
        load_small(None)
    assert list((tmp_path / "tfds" / "downloads" / "small_mnist").iterdir()) == []


@pytest.mark.parametrize("name", idx.FILES)
def test_truncated_and_other_files_are_named(published: Path, name: str):
    content = (published / name).read_bytes()
    for wrong in (
        content[:-9],
        content + b"x",
        b"",
        idx_file(np.zeros((3, 4, 4), np.uint8)),
    ):
        (published / name).write_bytes(wrong)
        with pytest.raises(pj.UserError, match=f"{name} must be the published file"):
            load_small(published)


def test_missing_files_are_listed(published: Path):
    (published / idx.FILES[2]).unlink()
    with pytest.raises(pj.UserError, match="lacks t10k-images-idx3-ubyte.gz; put"):
        load_small(published)


@pytest.mark.parametrize("name", idx.FILES)
def test_a_folder_in_the_place_of_a_file_is_named(published: Path, name: str):
    (published / name).unlink()
    (published / name).mkdir()
    with pytest.raises(pj.UserError, match=f"{name} must be a readable file, got: Is"):
        load_small(published)


def test_a_pipe_in_the_place_of_a_file_is_named(published: Path):
    (published / idx.FILES[0]).unlink()
    os.mkfifo(published / idx.FILES[0])  # to open it would never end
    with pytest.raises(pj.UserError, match="readable file, got: no regular file"):
        load_small(published)


def test_what_was_downloaded_before_does_not_begin_hours_of_retries(
    tmp_path: Path, monkeypatch
):
    """The server is asked first, whatever lies on disk."""

    def no_answer(url: str):
        raise OSError(f"no answer from {url}")

    (tmp_path / "downloads").mkdir()
    builder = types.SimpleNamespace(
        name="tiny",
        data_dir=tmp_path,
        data_dir_root=tmp_path,
        url_infos={"http://127.0.0.1/a": None},
        download_and_prepare=lambda **_: pytest.fail("it was begun"),
    )
    monkeypatch.setattr(catalogue, "_require_tensorflow", lambda reason: None)
    monkeypatch.setattr(catalogue, "require_answer", no_answer)
    with pytest.raises(pj.UserError, match="no answer from http://127.0.0.1/a"):
        catalogue._prepare(builder)


def test_the_versions_that_are_there_are_listed(tmp_path: Path):
    for version in ("1.0.0", "2.1.0", "incomplete"):
        (tmp_path / "tiny" / version).mkdir(parents=True)
    assert catalogue._versions("tiny:3.0.0", tmp_path) == ["1.0.0", "2.1.0"]


def test_one_label_too_few_is_noticed(published: Path):
    labels = small_mnist("train")[1]
    (published / idx.FILES[1]).write_bytes(idx_file(labels[:-1]))
    builder = catalogue._builder("small_mnist", None)
    builder.url_infos = url_infos(published, "http://127.0.0.1/")
    with pytest.raises(
        pj.UserError, match="labels-idx1-ubyte.gz must hold .* 30 images .* got 29"
    ):
        load_small(published)


ZEROS = np.zeros((2, 3, 3), np.uint8)


@pytest.mark.parametrize(
    ("content", "axes", "message"),
    [
        (b"not gzip", 3, "must be a whole gzip file"),
        (idx_file(ZEROS)[:-9], 3, "must be a whole gzip file"),
        (idx_file(ZEROS[0, 0]), 3, "must be an IDX file of 8-bit images"),
        (idx_file(ZEROS), 1, "must be an IDX file of 8-bit labels"),
        (idx_file(ZEROS, 9), 3, "must be an IDX file of 8-bit images"),
        (gzip.compress(b"short"), 3, "must be an IDX file of 8-bit images"),
        (gzip.compress(b"short"), 1, "must be an IDX file of 8-bit labels"),
        (
            gzip.compress(gzip.decompress(idx_file(ZEROS)) + b"x"),
            3,
            "must be an IDX file of 8-bit images",
        ),
    ],
    ids=[
        "not_gzip",
        "cut_gzip",
        "labels_for_images",
        "images_for_labels",
        "signed",
        "short_images",
        "short_labels",
        "long_images",
    ],
)
def test_the_reader_refuses_what_is_no_idx_file(
    content: bytes, axes: int, message: str
):
    with pytest.raises(pj.UserError, match=message):
        idx.decode(content, Path("file.gz"), axes)


@pytest.fixture
def offline(monkeypatch):
    import requests

    def get(*_, **__):
        raise requests.exceptions.ConnectionError("no route")

    monkeypatch.setattr(requests, "get", get)


@pytest.mark.usefixtures("offline")
def test_without_a_network_the_error_says_where_to_put_the_files(published: Path):
    with pytest.raises(pj.UserError, match="not on this machine.*pass data.data_dir"):
        load_small(None)


def test_a_set_that_cannot_be_prepared_names_the_extra(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(catalogue.importlib.util, "find_spec", lambda name: None)
    config = DataConfig(source="cifar10", data_dir=str(tmp_path))
    with pytest.raises(pj.UserError, match="TensorFlow, once; install it with: pip"):
        data.load(config, BOOK)


# --- prepared sets

PREPARED = Path(__file__).parent / "data"
TINY_COLOUR = pj.PixelCNNConfig.tiny(channels=3, features=12, levels=256)


def test_a_prepared_set_is_read_without_tensorflow():
    config = DataConfig("tiny_array_record", str(PREPARED), validation_images=2)
    found = data.load(config, dataclasses.replace(TINY_COLOUR, num_classes=2))
    assert (len(found.train), len(found.validation), len(found.test)) == (10, 2, 4)
    assert found.train.images[0, 0, 0].tolist() == [38, 83, 46]
    assert found.num_classes == 2
    assert found.test.labels is not None and found.test.labels.dtype == np.int32
    assert found.test.labels.tolist() == [1, 1, 0, 0]


def test_a_set_prepared_for_tensorflow_alone_names_the_extra(monkeypatch):
    monkeypatch.setattr(catalogue.importlib.util, "find_spec", lambda name: None)
    config = DataConfig("tiny_tfrecord", str(PREPARED))
    with pytest.raises(pj.UserError, match="as tfrecord, which TensorFlow alone"):
        data.load(config, TINY_COLOUR)


def test_colour_is_not_taken_for_grey():
    config = DataConfig("tiny_array_record", str(PREPARED))
    with pytest.raises(pj.UserError, match="set model.channels to 3"):
        data.load(config, BOOK)


@pytest.mark.parametrize(
    "file", ["dataset_info.json", "features.json", "*train.array_record*", "*test.arr*"]
)
def test_a_damaged_prepared_set_is_named(tmp_path: Path, file: str):
    shutil.copytree(PREPARED / "tiny_array_record", tmp_path / "tiny_array_record")
    (path,) = tmp_path.rglob(file)
    content = path.read_bytes()
    config = DataConfig("tiny_array_record", str(tmp_path))
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(pj.UserError, match="tiny_array_record must be "):
        data.load(config, TINY_COLOUR)
    path.unlink()
    path.mkdir()
    with pytest.raises(pj.UserError, match="tiny_array_record"):
        data.load(config, TINY_COLOUR)


@pytest.fixture
def prepared(monkeypatch) -> Callable[..., types.SimpleNamespace]:
    """Makes a builder of a set whose two splits are the same examples."""
    from tensorflow_datasets.core.features import ClassLabel, Image

    def make(images: list, labels: list | None = None, **image: Any):
        features: dict = {"image": Image(**{"shape": (None, None, 1), **image})}
        if labels is not None:
            features["label"] = ClassLabel(num_classes=3)
        examples = [
            {"image": image, "label": label}
            for image, label in zip(images, labels or range(len(images)), strict=True)
        ]
        builder = types.SimpleNamespace(
            name="small",
            data_path="folder/small",
            info=types.SimpleNamespace(
                splits={"train": None, "test": None},
                features=features,
                file_format=types.SimpleNamespace(value="array_record"),
            ),
            as_data_source=lambda split: examples,
        )
        monkeypatch.setattr(catalogue, "_builder", lambda name, folder: builder)
        return builder

    return make


def load_prepared(**model) -> data.Splits:
    config = DataConfig("small", validation_images=1)
    return data.load(config, dataclasses.replace(SMALL, **model))


def noise(*shape: int, high: int = 256) -> np.ndarray:
    return np.random.default_rng(0).integers(0, high, (*shape, 1), dtype=np.uint8)


def test_images_of_several_sizes_are_resized_one_by_one(prepared):
    images = [noise(4, 4), noise(6, 3), noise(2, 8)]
    prepared(images)
    found = load_prepared().test.images
    for image, one in zip(images, found, strict=True):
        assert (one == data.resize(image[None], 4, 4)[0].astype(np.uint8)).all()


def test_a_set_of_zeros_and_ones_fills_both_levels(prepared):
    images = noise(5, 4, 4, high=2)
    prepared(list(images))
    assert (load_prepared(levels=2).test.images == images).all()


def test_a_set_without_classes_has_no_labels(prepared):
    from tensorflow_datasets.core.features import Scalar

    features = prepared(list(noise(5, 4, 4))).info.features
    for label in ({}, {"label": Scalar(np.int64)}):
        features.update(label)
        found = load_prepared()
        parts = (found.train, found.validation, found.test)
        assert found.num_classes == 0 and [x.labels for x in parts] == [None] * 3
        with pytest.raises(pj.UserError, match="0 .they have no labels., got 3; set"):
            load_prepared(num_classes=3)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_of_no_class_are_refused_where_they_matter(prepared, label: int):
    prepared(list(noise(3, 4, 4)), labels=[0, 1, label])
    assert load_prepared().test.labels.tolist() == [0, 1, label]
    with pytest.raises(pj.UserError, match=f"must be 0 to 2, got .{label}.; choose"):
        load_prepared(num_classes=3)


@pytest.mark.parametrize(
    "image", [dict(dtype=np.uint16), dict(dtype=np.float32), dict(shape=(4, 4, None))]
)
def test_images_that_are_not_8_bit_are_refused(prepared, image: dict):
    prepared(list(noise(3, 4, 4)), **image)
    with pytest.raises(pj.UserError, match="small must have a feature 'image', 8-bit"):
        load_prepared()


@pytest.mark.usefixtures("offline")
def test_nothing_is_prepared_without_a_network(prepared, tmp_path, monkeypatch):
    builder = prepared([])
    builder.info.splits = {}
    builder.url_infos = {"http://127.0.0.1/small.zip": None}
    builder.data_dir = builder.data_dir_root = tmp_path
    builder.download_and_prepare = lambda **_: pytest.fail("would try for minutes")
    monkeypatch.setattr(catalogue.importlib.util, "find_spec", lambda name: name)
    with pytest.raises(pj.UserError, match="could not: ConnectionError: no route"):
        load_prepared()


# --- the real sets


@needs_real_data
def test_fashion_mnist_has_the_books_level_frequencies_and_its_labels():
    config = DataConfig(
        "fashion_mnist", f"{DATA_DIR}/fashion_mnist", validation_images=0
    )
    found = data.load(config, BOOK)
    assert found.train.images.shape == (60_000, 16, 16, 1)
    assert found.test.images.shape == (10_000, 16, 16, 1)
    counts = np.bincount(found.train.images.ravel())
    frequencies = (counts / counts.sum()).round(4).tolist()
    assert frequencies == [0.5806, 0.1146, 0.1461, 0.1587]
    assert data.class_frequencies(found.train.labels, 10).tolist() == [0.1] * 10
    assert found.test.labels[:8].tolist() == [9, 2, 1, 1, 6, 1, 4, 6]


@needs_real_data
def test_the_wrong_sets_files_are_refused():
    config = DataConfig("mnist", f"{DATA_DIR}/fashion_mnist")
    with pytest.raises(pj.UserError, match="must be the published file of mnist"):
        data.load(config, BOOK)
