"""Scores of images that do not belong, and how well they tell."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pixelcnn_jax as pj
from pixelcnn_jax.anomaly import png_bits
from pixelcnn_jax.commands import evaluate
from pixelcnn_jax.data import Lazy
from tests.conftest import random_images, refused, run_of, some_conditions, tiny_model


def test_images_on_the_disk_are_compressed_some_at_a_time():
    images, read = np.zeros((600, 2, 3, 1), np.uint8), []

    def some(rows: np.ndarray) -> np.ndarray:
        read.append(len(rows))
        return images[rows]

    lazy = Lazy(some, np.arange(600), (2, 3, 1), images.dtype)
    assert (png_bits(lazy, 2) == png_bits(images, 2)).all()
    assert sum(read) == 600 and max(read) <= 256


def test_outliers_need_no_classes(tmp_path: Path, capsys):
    model = tiny_model(num_classes=10, condition_dropout=0.1)
    run = run_of(tmp_path / "run", model)
    evaluate.run(["--workdir", str(run), "--outliers", "digits"], "evaluate")
    assert "AUROC of 297 outliers" in capsys.readouterr().out


def test_a_background_takes_what_the_model_takes():
    mapped = dict(condition_channels=1, condition_levels=3)
    for overrides, words in (
        (dict(condition_features=2), "levels with vectors of 2;"),
        (mapped, "levels with maps of 1 channels of 3 levels;"),
        (dict(levels=3), "got one of 1 channels of 3 levels;"),
    ):
        pair = tiny_model(), tiny_model(seed=1, **overrides)
        with pytest.raises(pj.UserError, match="background must be a model of") as said:
            pj.anomaly_scores(pair[0], random_images(pair[0], 2), background=pair[1])
        assert words in str(said.value)


def test_auroc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    belong, strange = rng.integers(0, 9, 40), rng.integers(3, 12, 30)  # with ties
    pairs = [(b < s) + (b == s) / 2 for b in belong for s in strange]
    assert pj.auroc(belong, strange) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert pj.auroc(np.arange(3), np.arange(3, 5)) == 1
    assert pj.auroc(np.ones(3), np.ones(5)) == 0.5
    assert pj.auroc(np.array([np.inf]), np.array([0.0])) == 0


@pytest.mark.parametrize("scores", [np.zeros(0), np.array([1, np.nan])])
def test_scores_that_are_none_are_refused(scores: np.ndarray):
    for both in ((scores, np.ones(2)), (np.ones(2), scores)):
        with pytest.raises(pj.UserError, match="at least one of each kind, got"):
            pj.auroc(*both)


@pytest.mark.parametrize(("channels", "levels"), [(1, 4), (3, 256), (2, 1000)])
def test_a_png_holds_all_of_an_image(channels: int, levels: int, monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, levels, (2, 6, 5, channels))
    saved, save = [], Image.Image.save

    def keep(picture: Image.Image, file: io.BytesIO, *args, **options) -> None:
        save(picture, file, *args, **options)
        saved.append(file.getvalue())

    monkeypatch.setattr(Image.Image, "save", keep)
    bits = png_bits(images, levels)
    assert bits.tolist() == [8 * len(x) for x in saved]
    for data, image in zip(saved, images, strict=True):
        back = np.asarray(Image.open(io.BytesIO(data))).reshape(6, -1)
        beside = image if channels == 3 and levels <= 256 else image.swapaxes(1, 2)
        assert (back == beside.reshape(6, -1)).all()


def test_the_scores_are_what_they_say():
    model, background = tiny_model(), tiny_model(seed=1)
    images = random_images(model, 4)
    found = pj.anomaly_scores(model, images, background=background)
    nats = -np.asarray(pj.log_prob(model, images), float)
    ratio = nats + np.asarray(pj.log_prob(background, images))
    bits = nats / np.log(2) - png_bits(images, 4)
    np.testing.assert_allclose(found.likelihood, nats, rtol=1e-6)
    np.testing.assert_allclose(found.ratio, ratio, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found.complexity, bits, rtol=1e-5)
    assert pj.anomaly_scores(model, images).ratio is None


def test_conditions_are_given_to_both_models():
    fields = dict(condition_features=2, condition_channels=1)
    model, background = tiny_model(**fields), tiny_model(seed=1, **fields)
    images, given = random_images(model, 4), some_conditions(model, 4)
    found = pj.anomaly_scores(model, images, background=background, **given)
    nats, others = (-pj.log_prob(m, images, **given) for m in (model, background))
    np.testing.assert_allclose(found.likelihood, nats, rtol=1e-5)
    np.testing.assert_allclose(found.ratio, nats - others, rtol=1e-5, atol=1e-3)
    with pytest.raises(pj.UserError, match="condition must be given for a model of 2"):
        pj.anomaly_scores(model, images)


def test_classes_count_by_their_mean():
    model = tiny_model(num_classes=3)
    images = random_images(model, 4)
    each = [pj.log_prob(model, images, np.full(4, label)) for label in range(3)]
    expected = -np.log(np.exp(np.float64(each)).mean(axis=0))
    found = pj.anomaly_scores(model, images)
    np.testing.assert_allclose(found.likelihood, expected, rtol=1e-5)


def test_a_background_of_other_images_is_refused():
    model = tiny_model()
    other = tiny_model(levels=2)
    with pytest.raises(pj.UserError, match="1 channels of 4 levels, got one of 1 chan"):
        pj.anomaly_scores(model, random_images(model, 2), background=other)


def test_evaluate_tells_outliers(tmp_path: Path, capsys):
    """The same images again are told by chance; noise is told well."""
    run = str(run_of(tmp_path / "run", tiny_model()))
    background = str(run_of(tmp_path / "background", tiny_model(seed=1)))
    np.save(tmp_path / "noise.npy", random_images(tiny_model(), 300).astype(np.int32))
    both = ["--workdir", run, "--background", background]
    output = ["--output", str(tmp_path / "scores")]
    evaluate.run([*both, "--outliers", "digits", *output], "evaluate")
    shown = capsys.readouterr().out
    assert "AUROC of 297 outliers" in shown
    assert shown.count("    0.5000 by ") == 3
    scores = np.load(tmp_path / "scores" / "scores.npz")
    ratio = scores["anomaly_ratio"]
    assert f"{-ratio.mean():.3f} +- " in shown and "nats/image less than under" in shown
    assert (scores["outlier_anomaly_ratio"] == ratio).all()
    evaluate.run([*both, "--outliers", str(tmp_path / "noise.npy")], "evaluate")
    shown = capsys.readouterr().out
    assert "AUROC of 300 outliers" in shown and shown.count("0.5000 by") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--background", "no/run"], "--background must be a run"),
        (["--outliers-dir", "x"], "--outliers-dir needs --outliers, got x only"),
        (["--outliers", "digits", "--outliers-dir", "x"], "left out for digits"),
        (["--outliers", "a/b.npy", "--outliers-dir", "x"], "images of your own, a/b.n"),
        (["--data", "a/b.npy", "--data-dir", "x"], "images of your own, a/b.npy; le"),
        (
            ["--outliers", "mnist", "--outliers-dir", "no/folder"],
            "error: --outliers-dir must be an existing folder, got no/folder",
        ),
        (["--outliers", "no/file.npy"], "error: --outliers must be a folder of"),
        (["--outliers", "fashion-mist"], "your own pass --outliers ./fashion-mist"),
    ],
)
def test_evaluate_refuses(arguments, message, capsys):
    assert message in refused("evaluate", arguments, capsys)
