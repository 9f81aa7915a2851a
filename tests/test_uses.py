"""The commands complete, score and compress, and say in one line what is wrong."""

import errno
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import pixelcnn_jax as pj
from pixelcnn_jax.commands import compress, evaluate, sample
from pixelcnn_jax.commands.image_files import read_mask
from pixelcnn_jax.commands.image_sets import another_set
from pixelcnn_jax.config import DataConfig
from tests.conftest import random_images, refused, run_of, some_labels, tiny_model


def test_sample_draws_at_another_size(plain: Path, tmp_path: Path):
    output = tmp_path / "out.npz"
    arguments = ["--workdir", str(plain), "--num-images", "3", "--size", "8x3"]
    sample.run([*arguments, "--output", str(output)], "sample")
    expected = pj.sample(tiny_model(), jax.random.key(0), 3, size=(8, 3))
    assert (np.load(output)["images"] == expected).all()


def test_a_mask_is_of_a_format_that_runs_no_other_program(tmp_path: Path):
    path = tmp_path / "known.png"
    Image.new("L", (5, 6)).save(path, format="EPS")
    with pytest.raises(pj.UserError, match="must be a picture, .*known.png"):
        read_mask("known", str(path))


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P", "I;16"])
def test_a_mask_is_known_where_it_is_white(mode: str, tmp_path: Path):
    known = np.arange(12).reshape(3, 4) % 3 == 0
    values = np.uint16(known) * (2**16 - 1) if mode == "I;16" else np.uint8(known) * 255
    picture = Image.fromarray(values)
    (picture if mode == "I;16" else picture.convert(mode)).save(tmp_path / "x.png")
    assert (read_mask("known", str(tmp_path / "x.png")) == known).all()


def test_sample_completes(plain: Path, image_file: Path, tmp_path: Path, capsys):
    """From rows, a picture and an array of the same meaning: the same completions."""
    known = np.zeros((6, 5), bool)
    known[:2] = True
    Image.fromarray(np.uint8(known) * 255).save(tmp_path / "known.png")
    np.savez(tmp_path / "known.npz", known=np.stack([known] * 3))
    given = np.load(image_file)["images"]
    expected = pj.complete(
        tiny_model(), jax.random.key(0), given, known, num_completions=2
    )
    usual = ["--workdir", str(plain), "--complete", str(image_file)]
    usual += ["--num-completions", "2", "--output"]
    output = str(tmp_path / "out.npz")
    for way in (
        ["--known-rows", "2"],
        ["--known", str(tmp_path / "known.png")],
        ["--known", str(tmp_path / "known.npz")],
    ):
        sample.run([*usual, output, *way], "sample")
        assert (np.load(output)["images"] == expected).all()
    picture = str(tmp_path / "out.png")
    sample.run([*usual, picture, "--known-rows", "2"], "sample")
    assert "out.png: 6 images" in capsys.readouterr().out
    shown = np.asarray(Image.open(picture))
    # Three rows of four tiles: original, known part, two completions.
    scale = round(512 / (4 * 6))
    gap = scale // 2
    assert shown.shape == (3 * (6 * scale + gap) + gap, 4 * (5 * scale + gap) + gap, 3)
    middle = shown[gap + scale // 2, gap + scale // 2 :: 5 * scale + gap, 0]
    assert (middle == given[0, 0, 0, 0] * 85).all()  # the first pixel is known


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "8"], "--size must be height x width, such as 32x64, got 8"),
        (["--size", "0x3"], "got 0x3"),
        (["--known-rows", "2"], "need images to complete, got none"),
        (["--num-completions", "3"], "--num-completions needs images to complete"),
        (
            ["--complete", "no.npz", "--known-rows", "2"],
            "got no.npz, which is not there; pass",
        ),
        (["--complete", "IN"], "which pixels are known, one of the two, got neither"),
        (["--complete", "IN", "--known-rows", "7"], "height of the images, 6, got 7"),
        (["--complete", "IN", "--known", "none.png"], "got none.png"),
        (["--complete", "IN", "--known", "x", "--known-rows", "1"], "got both"),
        (["--complete", "IN", "--known-rows", "1", "--size", "2x2"], "left out with"),
        (
            ["--complete", "IN", "--known-rows", "1", "--num-completions", "0"],
            "--num-completions must be an integer of at least 1",
        ),
    ],
)
def test_sample_refuses(arguments, message, plain, image_file, capsys, tmp_path):
    named = [str(image_file) if x == "IN" else x for x in arguments]
    output = ["--workdir", str(plain), "--output", str(tmp_path / "x.png")]
    line = refused("sample", [*named, *output], capsys)
    assert message in line


@pytest.mark.parametrize("watch", [[], ["--animate", "a.gif"], ["--entropy", "a.png"]])
def test_no_image_to_complete_is_refused(watch, plain, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("none.npy", np.zeros((0, 6, 5, 1), np.int32))
    task = ["--complete", "none.npy", "--known-rows", "2", "--output", "x.npz"]
    line = refused("sample", [*task, *watch, "--workdir", str(plain)], capsys)
    assert "--complete must hold at least one image, got none in none.npy" in line
    assert [path.name for path in tmp_path.iterdir()] == ["none.npy"]


def test_evaluate_prints_classes_and_writes_scores(tmp_path: Path, capsys):
    model = tiny_model(num_classes=10)
    folder, output = run_of(tmp_path / "run", model), tmp_path / "scores"
    arguments = ["--workdir", str(folder), "--output", str(output)]
    evaluate.run(arguments, "evaluate")
    shown = capsys.readouterr().out
    assert "of the classes are the likeliest" in shown
    scores = np.load(output / "scores.npz")
    assert shown.count("  class ") == 10
    first = scores["nats"][scores["labels"] == 0]
    error = first.std(ddof=1) / len(first) ** 0.5
    assert f"class 0: {first.mean():.3f} +- {error:.3f} nats/image" in shown
    assert scores["pixel_nats"].shape == (297, 6, 5)
    pixels = scores["pixel_nats"].sum((1, 2))
    np.testing.assert_allclose(pixels, scores["nats"], rtol=1e-4)
    posterior = scores["class_log_posterior"]
    np.testing.assert_allclose(np.exp(posterior).sum(1), 1, rtol=1e-6)
    right = (posterior.argmax(1) == scores["labels"]).mean()
    assert f"  {right:.4f} of the classes" in shown
    for name in ("most_likely", "least_likely", "bits_per_pixel"):
        assert Image.open(output / f"{name}.png").size[0] > 300
    assert len(list(output.iterdir())) == 4


def test_evaluate_scores_another_set(plain: Path, capsys, monkeypatch):
    evaluate.run(["--workdir", str(plain), "--data", "digits"], "evaluate")
    assert "digits test: 297 images" in capsys.readouterr().out
    line = refused("evaluate", ["--workdir", str(plain), "--data", "digit"], capsys)
    assert "--data" in line and "digit" in line


def test_a_name_with_a_slash_is_a_set_unless_it_is_there(
    plain: Path, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    named = another_set(DataConfig("images", path="x"), "emnist/letters", "here")
    assert (named.source, named.data_dir, named.path) == (
        "emnist/letters",
        "here",
        None,
    )
    for flag in ("--data", "--outliers"):
        line = refused("evaluate", ["--workdir", str(plain), flag, "no/such"], capsys)
        rule = f"error: {flag} must be the name of an image set, or the path of a file"
        assert line.startswith(rule) and "not there, and no set of the Tens" in line
    (tmp_path / "emnist" / "letters").mkdir(parents=True)
    for path in ("emnist/letters", ".", "./no", "/no/such", "~/no", "no/such.npz"):
        named = another_set(DataConfig("mnist"), path, None)
        assert (named.source, named.path) == ("images", path)


def test_evaluate_scores_own_images(plain: Path, tmp_path: Path, capsys):
    """Brought to levels as the run's: 256 of brightness to 4."""
    bright = np.random.default_rng(0).integers(0, 256, (150, 6, 5), dtype=np.uint8)
    np.save(tmp_path / "x.npy", bright)
    arguments = ["--workdir", str(plain), "--data", str(tmp_path / "x.npy")]
    evaluate.run(arguments, "evaluate")
    shown = capsys.readouterr().out
    assert "x.npy test: 150 images" in shown
    bits = float(pj.bits_per_dim(tiny_model(), (bright // 64)[..., None]).mean())
    assert f"  {bits:.4f} +-" in shown
    split = np.repeat([0, 2], [140, 10])
    np.savez(tmp_path / "y.npz", images=bright, split=split)
    arguments = ["--workdir", str(plain), "--data", str(tmp_path / "y.npz")]
    evaluate.run([*arguments, "--split", "train"], "evaluate")
    assert "y.npz train: 140 images" in capsys.readouterr().out
    line = refused("evaluate", [*arguments[:-1], "./none"], capsys)
    assert "--data must be a folder of images" in line


def test_sample_says_of_which_classes_it_completes(tmp_path: Path, capsys):
    model = tiny_model(num_classes=3)
    run, output = run_of(tmp_path / "run", model), str(tmp_path / "out.npz")
    np.savez(tmp_path / "in.npz", images=random_images(model, 4))
    task = ["--complete", str(tmp_path / "in.npz"), "--known-rows", "2"]
    usual = ["--workdir", str(run), "--num-completions", "1", "--output", output]
    for labels, told in (([], True), (["--labels", "2"], False)):
        sample.run([*usual, *task, *labels], "sample")
        assert ("classes in turn, from 0" in capsys.readouterr().out) == told


def test_sample_completes_the_images_of_a_folder(plain: Path, tmp_path: Path):
    bright = np.random.default_rng(0).integers(0, 256, (3, 6, 5), dtype=np.uint8)
    folder = tmp_path / "in"
    folder.mkdir()
    for number, image in enumerate(bright):
        Image.fromarray(image).save(folder / f"{number}.png")
    np.save(tmp_path / "levels.npy", bright // 64)
    drawn = []
    for given in (folder, tmp_path / "levels.npy"):
        arguments = ["--workdir", str(plain), "--complete", str(given), "--known-rows"]
        output = str(tmp_path / "out.npz")
        sample.run(
            [*arguments, "2", "--num-completions", "2", "--output", output], "sample"
        )
        drawn.append(np.load(output)["images"])
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0][:, 0, :2, :, 0] == bright[:, :2] // 64).all()


@pytest.mark.slow
def test_sample_draws_and_completes_from_conditions(tmp_path: Path, capsys):
    model = tiny_model(condition_features=2)
    run, output = run_of(tmp_path / "run", model), str(tmp_path / "out.npz")
    vectors = np.random.default_rng(0).normal(size=(2, 2)).astype(np.float32)
    np.savez(tmp_path / "given.npz", condition=vectors)
    usual = ["--workdir", str(run), "--output", output, "--num-images", "3"]
    given = ["--conditions", str(tmp_path / "given.npz")]
    doubts = ["--entropy", str(tmp_path / "doubts.png")]
    sample.run([*usual, *given, *doubts], "sample")
    # The file's rows in turn.
    turns = vectors[[0, 1, 0]]
    expected = pj.sample(model, jax.random.key(0), 3, condition=turns)
    assert (np.load(output)["images"] == expected).all()
    nats = pj.entropy_map(model, expected, condition=turns)
    assert f"{nats.max():.3f} nats per pixel" in capsys.readouterr().out
    images = random_images(model, 3)
    np.savez(tmp_path / "in.npz", images=images)
    task = ["--complete", str(tmp_path / "in.npz"), "--known-rows", "2"]
    sample.run([*usual, *given, *task, *doubts, "--num-completions", "1"], "sample")
    known = np.arange(6)[:, None].repeat(5, 1) < 2
    completed = pj.complete(model, jax.random.key(0), images, known, condition=turns)
    assert (np.load(output)["images"] == completed).all()
    assert "here on condition, got none" in refused("sample", usual, capsys)
    np.savez(tmp_path / "given.npz", vectors=vectors)
    line = refused("sample", [*usual, *given], capsys)
    assert "--conditions must hold an array named condition" in line


def test_an_output_that_is_full_costs_no_scores(plain: Path, tmp_path, monkeypatch):
    class Full:
        def write(self, _):
            raise OSError(errno.ENOSPC, "full")

        flush = write

    monkeypatch.setattr("sys.stdout", Full())
    evaluate.run(["--workdir", str(plain), "--output", str(tmp_path / "s")], "evaluate")
    assert (tmp_path / "s" / "scores.npz").exists()


def test_a_folder_for_scores_that_is_a_file_is_refused(plain, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    arguments = ["--workdir", str(plain), "--output", str(tmp_path / "file")]
    assert "--output must be a folder" in refused("evaluate", arguments, capsys)


@pytest.mark.parametrize("num_classes", [0, 3])
def test_compress_and_decompress_give_the_images_back(num_classes, tmp_path, capsys):
    pytest.importorskip("constriction")
    model = tiny_model(num_classes=num_classes)
    given, labels = random_images(model, 4), some_labels(model, 4)
    folder = str(run_of(tmp_path / "run", model))
    names = [str(tmp_path / name) for name in ("in.npz", "x.pxl", "out.npz")]
    np.savez(names[0], images=given, **({} if labels is None else {"labels": labels}))
    compress.compress([*names[:2], "--workdir", folder], "compress")
    compress.decompress([*names[1:], "--workdir", folder], "decompress")
    found = np.load(names[2])
    assert (found["images"] == given).all()
    assert labels is None or (found["labels"] == labels).all()
    size = (tmp_path / "x.pxl").stat().st_size
    assert f"{size} bytes compressed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("compress", [], "the input and the output must both be named, got neither"),
        ("compress", ["IN", "x.zip"], "output must end in .pxl, got x.zip"),
        ("compress", ["no.npz", "OUT"], "input must be a .npy or .npz file"),
        ("decompress", ["IN", "x.gif"], "must end in .npz, .npy or .png, got x.gif"),
        ("decompress", ["no.pxl", "x.npz"], "a file that can be read, got no.pxl"),
        ("decompress", ["IN", "x.npz"], "must begin with PXL1, got"),
    ],
)
def test_compression_refuses(
    command, arguments, message, image_file, tmp_path, capsys, monkeypatch
):
    pytest.importorskip("constriction")
    monkeypatch.chdir(tmp_path)
    places = {"IN": str(image_file), "OUT": "x.pxl"}
    named = [places.get(x, x) for x in arguments]
    assert message in refused(command, named, capsys)
    assert not list(tmp_path.iterdir())
