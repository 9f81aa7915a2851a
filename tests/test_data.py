"""Levels are the book's, and labels stay with their images."""

import dataclasses
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import pixelcnn_jax as pj
from pixelcnn_jax import config, data
from pixelcnn_jax.config import DataConfig
from pixelcnn_jax.data import catalogue, source, splits

BOOK = pj.PixelCNNConfig()
DIGITS = pj.PixelCNNConfig(height=8, width=8, levels=17)


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


CONVERSIONS = {
    "quantize": lambda images, **given: data.quantize(images, 4, **given),
    "threshold": lambda images, **given: data.threshold(images, 0.33, **given),
    "brightness": data.brightness,
}


@pytest.mark.parametrize("name", CONVERSIONS)
@pytest.mark.parametrize(
    ("images", "given", "message"),
    [
        (np.array([300, -1]), {}, "0 and below source_levels, 256, got -1 to 300; sca"),
        (
            np.array([0, 17]),
            dict(source_levels=17),
            "below source_levels, 17, got 0",
        ),
        (np.array([0.5, np.nan]), dict(resized=True), "256, got nan to nan"),
        (np.array([0, np.inf]), {}, "256, got 0.0 to inf"),
        (np.array([256.0]), {}, "256, got 256.0 to 256.0"),
        (np.array([0.2, 1]), {}, "got floats from 0.2 to 1.0, .* multiply them by 255"),
        (np.array(["1"]), {}, "images must be numbers, got <U1"),
        (np.array([None]), {}, "images must be numbers, got object"),
    ],
)
def test_values_that_no_source_has_are_refused(
    name: str, images: np.ndarray, given: dict, message: str
):
    with pytest.raises(pj.UserError, match=message):
        CONVERSIONS[name](images, **given)


@pytest.mark.parametrize("name", CONVERSIONS)
def test_all_values_that_a_source_has_are_taken(name: str):
    convert = CONVERSIONS[name]
    assert convert(np.float32([0, 0.6, 1]), resized=True).max() <= 1
    assert convert(np.float32([0, 1])).tolist() == convert(np.array([0, 1])).tolist()
    assert convert(np.array([False, True]), source_levels=2)[1] > 0
    assert convert(np.zeros((0, 1), np.uint8)).shape == (0, 1)
    most = convert(np.array([255]))
    assert convert(np.nextafter([256.0], 0)) == most == convert([255])
    assert convert(np.float32([0.2, 1]), source_levels=2).shape == (2,)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.array([0.2, 0.9]), "integers from 0 to 255, got float64; see data.bright"),
        (np.array([False]), "integers from 0 to 255, got bool"),
        (np.array([0, 256]), "256, got 0 to 256"),
        (np.array([-1]), "256, got -1 to -1"),
    ],
)
def test_only_brightness_is_binarised(images: np.ndarray, message: str):
    with pytest.raises(pj.UserError, match=message):
        data.binarize(images, (1,))


def test_a_dark_image_that_is_resized_is_no_mistake(monkeypatch):
    dark = np.zeros((4, 4, 4, 1), np.uint8)
    dark[:, 1] = 1
    parts = source.Part(dark, None), source.Part(dark, None)
    monkeypatch.setattr(catalogue, "load", lambda *_: source.Source(*parts, 0))
    model = pj.PixelCNNConfig.tiny(height=3, width=3, levels=2)
    for given in ({}, {"threshold": 0.5}, {"quantization": "dynamic"}):
        found = data.load(DataConfig("dark", validation_images=0, **given), model)
        assert found.train.images.max() <= 1


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
    found = data.load(DataConfig(validation_images=200), BOOK)
    assert [len(found.train), len(found.validation), len(found.test)] == [
        1300,
        200,
        297,
    ]
    levels = found.train.images
    assert levels.shape[1:] == (16, 16, 1) and levels.dtype == np.uint8
    counts = np.bincount(levels.ravel(), minlength=4)
    np.testing.assert_allclose(
        counts / counts.sum(), [0.557, 0.153, 0.184, 0.106], atol=5e-4
    )
    more = data.load(DataConfig(validation_images=300), BOOK)
    assert (more.test.images == found.test.images).all()
    again = data.load(DataConfig(validation_images=200), BOOK)
    assert (again.validation.images == found.validation.images).all()
    everything = np.concatenate([levels, found.validation.images])
    whole = data.load(DataConfig(validation_images=0), BOOK)
    assert len(whole.validation) == 0
    assert sorted(map(bytes, everything)) == sorted(map(bytes, whole.train.images))


def test_every_digit_keeps_its_label():
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    true = dict(zip(map(bytes, pixels.astype(np.uint8)), labels, strict=True))
    found = data.load(DataConfig(validation_images=200), DIGITS)
    assert found.num_classes == 10
    for part in (found.train, found.validation, found.test):
        assert part.labels is not None and part.labels.dtype == np.int32
        assert part.labels.tolist() == [true[bytes(x)] for x in part.images]


def test_the_share_of_each_class_is_counted():
    shares = data.class_frequencies(np.int32([2, 0, 2, 2]), 5)
    assert shares.dtype == np.float64 and shares.tolist() == [0.25, 0, 0.75, 0, 0]


@pytest.mark.parametrize("labels", [[], [0, 4], [-1, 0]])
def test_shares_of_impossible_labels_are_refused(labels: list[int]):
    with pytest.raises(ValueError, match="labels must be 0 to 3, at least one"):
        data.class_frequencies(np.int32(labels), 4)


def test_slabs_change_nothing(monkeypatch):
    whole = data.load(DataConfig(), BOOK)
    monkeypatch.setattr(splits, "SLAB", 7)
    slabs = data.load(DataConfig(), BOOK)
    assert (slabs.train.images == whole.train.images).all()
    assert (slabs.test.images == whole.test.images).all()


@pytest.mark.parametrize("side", [28, 16])
@pytest.mark.parametrize("quantization", ["bins", "dynamic"])
def test_memory_stays_at_a_few_bytes_a_pixel(monkeypatch, side: int, quantization: str):
    images = np.zeros((4096, 28, 28, 1), np.uint8)
    part = source.Part(images, None)
    few = source.Part(images[:1], None)
    monkeypatch.setattr(
        catalogue, "load", lambda *_: source.Source(part, few, num_classes=0)
    )
    monkeypatch.setattr(splits, "SLAB", 64)
    model = pj.PixelCNNConfig.tiny(height=side, width=side, levels=2)
    tracemalloc.start()
    data.load(DataConfig("zeros", quantization=quantization), model)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * 4096 * side**2


# --- sets


def test_levels_are_as_they_are_and_brightness_is_drawn_from_the_seed():
    images = np.full((4, 6, 5, 1), 100, np.uint8)
    assert data.ImageSet(images).levels((1,)) is images
    bright = data.ImageSet(images, brightness=True)
    assert (bright.levels((1,)) == data.binarize(images, (1,))).all()
    assert (bright.levels((1,)) != bright.levels((2,))).any()


def test_a_model_without_classes_is_given_no_labels():
    images = data.ImageSet(np.zeros((3, 1, 1, 1)), np.arange(3), brightness=True)
    assert images.for_model(BOOK) == dataclasses.replace(images, labels=None)
    assert images.for_model(dataclasses.replace(BOOK, num_classes=3)) == images


def test_as_many_labels_as_images():
    with pytest.raises(pj.UserError, match="one per image, 3, got 2; pass as many"):
        data.ImageSet(np.zeros((3, 1, 1, 1)), np.arange(2))


def test_classes_come_in_turn():
    found = data.classes_in_turn([9, 0, 1], 5)
    assert found is not None and found.dtype == np.int32
    assert found.tolist() == [9, 0, 1, 9, 0]
    assert data.classes_in_turn(range(0), 5) is None


def test_the_images_of_a_run_on_arrays_are_nowhere():
    with pytest.raises(pj.UserError, match="trained on arrays in memory; pass those"):
        data.load(DataConfig(config.ARRAYS), BOOK)


# --- dynamic binarisation


def dynamic(validation_images: int, **model) -> data.Splits:
    source = DataConfig(validation_images=validation_images, quantization="dynamic")
    return data.load(source, dataclasses.replace(DIGITS, levels=2, **model))


def test_brightness_is_the_pixel_of_an_8_bit_image():
    assert (data.brightness(np.arange(256)) == np.arange(256)).all()
    assert data.brightness(np.float32([0.4, 0.6, 254.7])).tolist() == [0, 1, 255]
    found = data.brightness(np.uint8([0, 1, 2, 9, 16]), 17)
    assert found.dtype == np.uint8 and found.tolist() == [0, 16, 32, 143, 255]


def test_a_pixel_is_1_as_often_as_it_is_bright():
    count = 100_000
    pixels = np.repeat(np.uint8([[0], [1], [64], [254], [255]]), count, axis=1)
    found = data.binarize(pixels, (1,)).mean(axis=1)
    share = np.array([0, 1, 64, 254, 255]) / 255
    assert found[0] == 0 and found[-1] == 1
    assert (abs(found - share) <= 4 * np.sqrt(share * (1 - share) / count)).all()


def test_training_images_stay_bright_and_the_others_are_drawn_from_them():
    plain = data.load(DataConfig(validation_images=200), DIGITS)
    found = dynamic(200)
    assert (found.train.images == data.brightness(plain.train.images, 17)).all()
    for part, pixels in (
        (found.validation.images, plain.validation.images),
        (found.test.images, plain.test.images),
    ):
        assert part.dtype == np.uint8 and part.shape == pixels.shape
        assert set(part.ravel()) == {0, 1}
        assert (part[pixels == 0] == 0).all() and (part[pixels == 16] == 1).all()
        assert abs(part[pixels == 8].mean() - 0.5) < 0.1
    assert (found.test.labels == plain.test.labels).all()


def test_only_the_training_images_of_dynamic_binarisation_hold_brightness():
    found = dynamic(200)
    parts = (found.train, found.validation, found.test)
    assert [part.brightness for part in parts] == [True, False, False]


def test_brightness_is_rounded_after_the_resize():
    bright = np.float32(dynamic(0).train.images)
    # Between two pixels, so far that rounding first would show.
    plain = data.load(DataConfig(validation_images=0), DIGITS).train.images
    wide = data.resize(plain, 8, 20) * (255 / 16)
    found = dynamic(0, width=20).train.images
    assert abs(found - wide).max() <= 0.5
    assert abs(data.resize(bright, 8, 20) - wide).max() > 0.3


def test_levels_drawn_once_do_not_depend_on_how_many_are_held_out():
    few, many = dynamic(200), dynamic(300)
    assert (few.test.images == many.test.images).all()
    drawn = set(map(bytes, many.validation.images))
    assert {bytes(x) for x in few.validation.images} <= drawn


def test_an_epoch_takes_every_image_once_in_its_own_order():
    order = data.batch_order(0, 3, 10, 4)
    assert order.shape == (3, 4)
    assert sorted(order.ravel()) == [-1, -1, *range(10)]
    assert order.ravel()[-2:].tolist() == [-1, -1]
    assert (order == data.batch_order(0, 3, 10, 4)).all()
    assert (order != data.batch_order(0, 4, 10, 4)).any()
    assert (order != data.batch_order(1, 3, 10, 4)).any()


@pytest.mark.parametrize(
    ("settings", "model", "message"),
    [
        (dict(source="fashion_mnst"), {}, "did you mean fashion_mnist"),
        (dict(source="digitz"), {}, "did you mean digits"),
        (dict(), dict(channels=3, features=12), "set model.channels to 1"),
        (dict(validation_images=1500), {}, "fewer than 1500, got 1500"),
        (dict(source="mnist", data_dir="no/such"), {}, "existing folder, got no/such"),
        (dict(source="mnist", data_dir=__file__), {}, "existing folder, got /"),
        (dict(source="mnist", data_dir="~no.such/x"), {}, "existing folder, got ~no"),
        (dict(source="mnist", data_dir="x" * 999), {}, "readable, got: .*too long"),
        (
            dict(source="mnist:9.9.9", data_dir=str(Path(__file__).parent)),
            {},
            "can open, got AssertionError.* its versions, data.data_dir .* holds none",
        ),
        (dict(source="./images"), {}, "your own pass data.path ./images"),
        (dict(source="huggingface:mnist"), {}, "catalogue, got huggingface:mnist"),
        (dict(source="lm1b"), {}, "must have a feature 'image'.*got .'text'."),
        (
            dict(),
            dict(num_classes=7),
            "num_classes must be that of the images of digits, 10, got 7; set"
            " model.num_classes to 10",
        ),
    ],
)
def test_wrong_settings_are_refused(settings: dict, model: dict, message: str):
    with pytest.raises(pj.UserError, match=message) as refusal:
        data.load(DataConfig(**settings), pj.PixelCNNConfig(**model))
    assert "\n" not in str(refusal.value)


def test_a_model_of_as_many_classes_is_taken():
    found = data.load(DataConfig(), dataclasses.replace(BOOK, num_classes=10))
    assert found.num_classes == 10
