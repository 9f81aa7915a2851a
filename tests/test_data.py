"""Levels are the book's; data that are missing or damaged are named, at once."""

import functools
import gzip
import hashlib
import http.server
import struct
import threading
import types
from pathlib import Path

import numpy as np
import pytest

import pixelcnn_jax as pj
from pixelcnn_jax import data
from pixelcnn_jax.config import DataConfig
from pixelcnn_jax.data import catalogue
from tests.conftest import DATA_DIR, needs_real_data

BOOK = pj.PixelCNNConfig()


def test_quantize_puts_equal_bins_over_the_source():
    pixels = np.arange(256, dtype=np.uint8)
    assert np.bincount(data.quantize(pixels, 4)).tolist() == [64] * 4
    assert data.quantize(np.array([63, 64, 191, 192]), 4).tolist() == [0, 1, 2, 3]
    assert data.quantize(np.float32([63.9, 64.0, 255.0]), 4).tolist() == [0, 1, 3]
    assert (data.quantize(pixels, 256) == pixels).all()
    assert (
        data.quantize(np.arange(17), 4, 17).tolist()
        == [0] * 5 + [1] * 4 + [2] * 4 + [3] * 4
    )
    assert data.quantize(np.array([299]), 300, 300).tolist() == [299]


def test_resize_takes_half_pixel_centres():
    ramp = np.arange(4, dtype=np.uint8).reshape(1, 1, 4, 1)
    assert data.resize(ramp, 1, 2).ravel().tolist() == [0.5, 2.5]
    doubled = data.resize(ramp, 1, 8).ravel().tolist()
    assert doubled == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]


def test_resize_gives_the_values_of_tensorflow():
    """`tf.image.resize(images, size)` of TensorFlow 2.21 on the same integers."""
    known = np.load(Path(__file__).parent / "data" / "tf_resize.npz")
    for name in sorted(known):
        if name.endswith("_x"):
            expected = known[name[:-1] + "y"]
            resized = data.resize(known[name], *expected.shape[1:3])
            assert resized.dtype == np.float32
            assert (resized == expected).all(), name


def test_resize_keeps_images_of_the_right_size():
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1)
    assert data.resize(images, 2, 2) is images


def test_digits_have_fixed_splits_that_share_no_image():
    splits = data.load(DataConfig(validation_images=200), BOOK)
    assert [len(x) for x in (splits.train, splits.validation, splits.test)] == [
        1300,
        200,
        297,
    ]
    assert splits.train.shape[1:] == (16, 16, 1) and splits.train.dtype == np.uint8
    counts = np.bincount(splits.train.ravel(), minlength=4)
    np.testing.assert_allclose(
        counts / counts.sum(), [0.557, 0.153, 0.184, 0.106], atol=5e-4
    )
    more = data.load(DataConfig(validation_images=300), BOOK)
    assert (more.test == splits.test).all()
    again = data.load(DataConfig(validation_images=200), BOOK)
    assert (again.validation == splits.validation).all()
    everything = np.concatenate([splits.train, splits.validation])
    whole = data.load(DataConfig(validation_images=0), BOOK)
    assert len(whole.validation) == 0
    assert sorted(map(bytes, everything)) == sorted(map(bytes, whole.train))


def test_an_epoch_takes_every_image_once_in_its_own_order():
    order = data.batch_order(0, 3, 10, 4)
    assert order.shape == (3, 4)
    assert sorted(order.ravel()) == [-1, -1, *range(10)]
    assert order.ravel()[-2:].tolist() == [-1, -1]
    assert (order == data.batch_order(0, 3, 10, 4)).all()
    assert (order != data.batch_order(0, 4, 10, 4)).any()
    assert (order != data.batch_order(1, 3, 10, 4)).any()


@pytest.mark.parametrize(
    ("source", "model", "message"),
    [
        (dict(source="fashion_mnst"), {}, "did you mean fashion_mnist"),
        (dict(source="digitz"), {}, "did you mean digits"),
        (dict(), dict(channels=3, features=12), "pass --model.channels 1"),
        (dict(validation_images=1500), {}, "fewer than 1500, got 1500"),
        (dict(source="mnist", data_dir="no/such"), {}, "existing folder, got no/such"),
    ],
)
def test_wrong_settings_are_refused(source: dict, model: dict, message: str):
    with pytest.raises(pj.UserError, match=message):
        data.load(DataConfig(**source), pj.PixelCNNConfig(**model))


# --- the four files of an MNIST-like set


def idx(values: np.ndarray) -> bytes:
    head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    return gzip.compress(head + values.tobytes())


@pytest.fixture
def published(tmp_path: Path, monkeypatch) -> Path:
    """A folder that is served on this machine as where a small set is published."""
    folder = tmp_path / "published"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part, count in (("train", 30), ("t10k", 8)):
        images = rng.integers(0, 256, (count, 4, 4), dtype=np.uint8)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(images))
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"

    from tensorflow_datasets.core.download.checksums import UrlInfo
    from tensorflow_datasets.core.utils import Size

    infos = {}
    for name in catalogue.IDX_FILES:
        content = (folder / name).read_bytes()
        infos[url + name] = UrlInfo(
            size=Size(len(content)),
            checksum=hashlib.sha256(content).hexdigest(),
            filename=name,
        )
    builder = types.SimpleNamespace(
        name="small_mnist",
        info=types.SimpleNamespace(splits={}),
        url_infos=infos,
        data_dir=str(tmp_path / "tfds" / "small_mnist" / "1.0.0"),
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


def test_four_local_files_are_read(published: Path):
    splits = load_small(published)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 4, 4), dtype=np.uint8)
    found = np.concatenate([splits.train, splits.validation])
    assert sorted(map(bytes, found)) == sorted(map(bytes, images))
    assert splits.test.shape == (8, 4, 4, 1)


def test_a_set_is_downloaded_once_and_verified(published: Path, tmp_path: Path):
    downloaded = load_small(None)
    assert (downloaded.train == load_small(published).train).all()
    where = tmp_path / "tfds" / "downloads" / "small_mnist"
    assert {path.name for path in where.iterdir()} == set(catalogue.IDX_FILES)
    for path in published.iterdir():
        path.unlink()  # now there is nothing to download
    assert (load_small(None).train == downloaded.train).all()


@pytest.mark.parametrize("name", catalogue.IDX_FILES)
def test_truncated_and_other_files_are_named(published: Path, name: str):
    content = (published / name).read_bytes()
    for wrong in (
        content[:-9],
        content + b"x",
        b"",
        idx(np.zeros((3, 4, 4), np.uint8)),
    ):
        (published / name).write_bytes(wrong)
        with pytest.raises(pj.UserError, match=f"{name} must be the published file"):
            load_small(published)


def test_missing_files_are_listed(published: Path):
    (published / catalogue.IDX_FILES[2]).unlink()
    with pytest.raises(pj.UserError, match="lacks t10k-images-idx3-ubyte.gz; put"):
        load_small(published)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not gzip", "must be a whole gzip file"),
        (idx(np.zeros((2, 3, 3), np.uint8))[:-9], "must be a whole gzip file"),
        (idx(np.zeros(5, np.uint8)), "must be an IDX file of 8-bit images"),
        (gzip.compress(b"short"), "must be an IDX file of 8-bit images"),
    ],
    ids=["not_gzip", "cut_gzip", "labels", "short"],
)
def test_the_reader_refuses_what_is_no_idx_file(tmp_path, content, message):
    path = tmp_path / "images.gz"
    path.write_bytes(content)
    with pytest.raises(pj.UserError, match=message):
        catalogue.read_idx(path)


def test_without_a_network_the_error_says_where_to_put_the_files(
    published: Path, tmp_path: Path, monkeypatch
):
    import requests

    def offline(*_, **__):
        raise requests.exceptions.ConnectionError("no route")

    monkeypatch.setattr(requests, "head", offline)
    with pytest.raises(pj.UserError, match="not on this machine.*pass --data.data-dir"):
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
    splits = data.load(config, TINY_COLOUR)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (10, 2, 4)
    assert splits.train[0, 0, 0].tolist() == [38, 83, 46]


def test_a_set_prepared_for_tensorflow_alone_names_the_extra(monkeypatch):
    monkeypatch.setattr(catalogue.importlib.util, "find_spec", lambda name: None)
    config = DataConfig("tiny_tfrecord", str(PREPARED))
    with pytest.raises(pj.UserError, match="as tfrecord, which TensorFlow alone"):
        data.load(config, TINY_COLOUR)


def test_colour_is_not_taken_for_grey():
    config = DataConfig("tiny_array_record", str(PREPARED))
    with pytest.raises(pj.UserError, match="pass --model.channels 3"):
        data.load(config, BOOK)


# --- the real sets


@needs_real_data
def test_fashion_mnist_has_the_books_level_frequencies():
    config = DataConfig(
        "fashion_mnist", f"{DATA_DIR}/fashion_mnist", validation_images=0
    )
    splits = data.load(config, BOOK)
    assert splits.train.shape == (60_000, 16, 16, 1)
    assert splits.test.shape == (10_000, 16, 16, 1)
    counts = np.bincount(splits.train.ravel())
    frequencies = (counts / counts.sum()).round(4).tolist()
    assert frequencies == [0.5806, 0.1146, 0.1461, 0.1587]


@needs_real_data
def test_the_wrong_sets_files_are_refused():
    config = DataConfig("mnist", f"{DATA_DIR}/fashion_mnist")
    with pytest.raises(pj.UserError, match="must be the published file of mnist"):
        data.load(config, BOOK)
