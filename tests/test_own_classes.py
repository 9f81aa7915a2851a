"""The labels of a folder mean in later commands what they meant in training."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pixelcnn_jax as pj
from pixelcnn_jax import data
from pixelcnn_jax.commands import evaluate, known_pixels, train
from pixelcnn_jax.commands.image_sets import another_set, read_set
from pixelcnn_jax.config import DataConfig, from_json, to_json
from pixelcnn_jax.runs import Run

NAMES = ("ant", "bee", "cat")
MODEL = pj.PixelCNNConfig.tiny(height=4, width=5, levels=4, num_classes=3)
RUN = DataConfig("images", path="gone", validation_images=0, classes=NAMES)


def folder(path: Path, *names: str, each: int = 4) -> str:
    """Images of these classes, all of one brightness by the name's place."""
    for name in names:
        (path / name).mkdir(parents=True)
        pixels = np.full((4, 5), 80 * NAMES.index(name) if name in NAMES else 0, "u1")
        for number in range(each):
            Image.fromarray(pixels).save(path / name / f"{number}.png")
    return str(path)


def train_on(path: str, workdir: Path) -> None:
    tiny = (
        "digits --model.features 8 --model.num-blocks 1 --model.first-kernel-size 3"
        " --model.dropout 0 --training.batch-size 2 --training.epochs 1"
    )
    own = f"--data.source images --data.path {path} --workdir {workdir}"
    train.run([*tiny.split(), *own.split()], "train")


def test_some_of_the_classes_keep_their_labels(tmp_path: Path):
    other = another_set(RUN, folder(tmp_path / "some", "cat", "bee"), None)
    images, weights = read_set(other, MODEL, "test", another=True)
    assert images.labels is not None and weights is None
    assert images.labels.tolist() == [1] * 4 + [2] * 4
    assert (np.asarray(images.images)[:4] == 80 * 4 // 256).all()


def test_other_classes_are_refused_where_labels_count(tmp_path: Path):
    path = folder(tmp_path / "others", "bee", "dog")
    other = another_set(RUN, path, None)
    with pytest.raises(pj.UserError, match="in training, ant, bee, cat, got bee, dog"):
        read_set(other, MODEL, "test", another=True)
    # What a model without classes makes of them is nobody's label.
    images, _ = read_set(other, MODEL.without_classes(), "test", another=True)
    assert len(images) == 8
    labels = known_pixels.read_task(path, 2, None, MODEL, RUN).labels
    assert labels is None


def test_completions_take_the_labels_of_some_classes(tmp_path: Path):
    path = folder(tmp_path / "some", "cat")
    labels = known_pixels.read_task(path, 2, None, MODEL, RUN).labels
    assert labels is not None and labels.tolist() == [2] * 4


def test_a_run_without_names_takes_all_of_its_classes_or_none(tmp_path: Path):
    old = dataclasses.replace(RUN, classes=())
    whole = another_set(old, folder(tmp_path / "whole", *NAMES), None)
    labels = read_set(whole, MODEL, "test", another=True)[0].labels
    assert labels is not None and sorted(set(labels.tolist())) == [0, 1, 2]
    some = another_set(old, folder(tmp_path / "some", "cat"), None)
    with pytest.raises(pj.UserError, match="in training, all 3, got cat"):
        read_set(some, MODEL, "test", another=True)


def test_names_may_be_given_and_are_then_the_order():
    order = DataConfig("images", path="x", classes=("cat", "ant"))
    assert from_json(to_json(pj.Config(data=order))).data.classes == ("cat", "ant")


def test_names_need_sub_folders(tmp_path: Path):
    np.save(tmp_path / "x.npy", np.zeros((20, 4, 5), np.uint8))
    named = dataclasses.replace(RUN, path=str(tmp_path / "x.npy"))
    config = pj.Config(data=named, model=MODEL.without_classes())
    with pytest.raises(pj.UserError, match=r"data\.classes are the names"):
        data.settled(config, data.open_own(named))
    with pytest.raises(pj.UserError, match=r"data\.classes is for images of your own"):
        DataConfig(classes=("ant",))


def test_a_run_keeps_the_names_and_evaluates_by_them(tmp_path: Path, capsys):
    path, run = folder(tmp_path / "all", *NAMES, each=8), tmp_path / "run"
    train_on(path, run)
    assert Run(run).config().data.classes == NAMES
    some = folder(tmp_path / "some", "cat")
    capsys.readouterr()
    evaluate.run(["--workdir", str(run), "--data", some], "evaluate")
    shown = capsys.readouterr().out
    assert "class 2: " in shown and "class 0: " not in shown
    assert "(the class not known, all as likely)" in shown
    evaluate.run(["--workdir", str(run)], "evaluate")
    assert "(the class not known)" in capsys.readouterr().out
    # As many classes of other names.
    moved = Path(shutil.copytree(path, tmp_path / "moved"))
    (moved / "bee").rename(moved / "dog")
    rule = r"data\.classes ant, bee, cat \(now ant, cat, dog\)"
    with pytest.raises(pj.UserError, match=rule):
        train_on(str(moved), run)


# --- and the images that were held out stay those


def test_a_run_holds_to_its_own_images(tmp_path: Path):
    """Others would be taken for those held out, or be trained on in their place."""
    path, run = Path(folder(tmp_path / "x", *NAMES, each=8)), tmp_path / "run"
    train_on(str(path), run)
    config = Run(run).config()
    assert len(config.data.fingerprint) == 16
    whole = ["--workdir", str(run), "--split", "test"]
    moved = path.rename(tmp_path / "moved")
    evaluate.run([*whole, "--data-dir", str(moved)], "evaluate")
    first = moved.rename(path) / "ant" / "0.png"
    pixels = np.full((4, 5), 9, np.uint8)
    Image.fromarray(pixels).save(path / "ant" / "00.png")
    message = f"the images of {path} must be those that the training began with"
    with pytest.raises(pj.UserError, match=message):
        read_set(config.data, config.model, "test", another=False)
    evaluate.run([*whole, "--data", str(path)], "evaluate")  # all, as another set
    first.unlink()  # as many as before, but not the same
    with pytest.raises(pj.UserError, match=message):
        read_set(config.data, config.model, "test", another=False)
    with pytest.raises(
        pj.UserError, match="own settings, .* has other images: data.fi"
    ):
        train_on(str(path), run)


def test_a_fingerprint_is_of_a_files_content(tmp_path: Path):
    images = np.zeros((40, 300, 300), np.uint8)

    def fingerprint(name: str, **arrays) -> str:
        np.savez(tmp_path / name, **arrays)
        config = DataConfig("images", path=str(tmp_path / name))
        return data.open_own(config).fingerprint

    first = fingerprint("a.npz", images=images)
    assert fingerprint("b.npz", images=images) == first
    assert fingerprint("c.npz", images=images, labels=np.arange(40)) != first
    images[-1, -1, -1] = 1
    assert fingerprint("d.npz", images=images) != first


def test_a_run_without_a_fingerprint_takes_what_is_there(tmp_path: Path):
    config = DataConfig("images", path=folder(tmp_path / "x", "ant", each=20))
    config = dataclasses.replace(config, validation_images=2)
    model = pj.PixelCNNConfig.tiny(height=4, width=5, levels=4)
    assert len(data.load(config, model).test) == 2
    known = dataclasses.replace(config, fingerprint="0" * 16)
    with pytest.raises(
        pj.UserError, match=r"data.fingerprint 0{16}, got [0-9a-f]{16};"
    ):
        data.load(known, model)
