"""Flags and files that are odd in ways that people meet: one line, and nothing lost."""

import dataclasses
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pixelcnn_jax as pj
from pixelcnn_jax import output
from pixelcnn_jax.commands import evaluate, sample
from pixelcnn_jax.commands.image_files import (
    read_arrays,
    read_images,
    read_mask,
    require_writable,
)
from pixelcnn_jax.config import DataConfig, TrainingConfig
from pixelcnn_jax.data import array_files, open_own
from pixelcnn_jax.data.beside import read_beside
from pixelcnn_jax.files import scratch_name
from pixelcnn_jax.runs import Run, manifests, tables
from tests.conftest import random_images, refused, run_of, tiny_model

# --- what a run goes on with


@pytest.mark.slow
def test_a_run_goes_on_with_as_many_images_only(tmp_path: Path):
    model = pj.PixelCNNConfig.tiny(height=2, width=3)
    first = random_images(tiny_model(height=2, width=3), 12)

    def fit(given: np.ndarray, epochs: int) -> None:
        training = TrainingConfig(epochs=epochs, batch_size=4)
        config = pj.Config(model=model, training=training, workdir=str(tmp_path))
        pj.fit(config, given, given[:4], workdir=tmp_path)

    fit(first, 1)
    table = (tmp_path / "metrics.csv").read_text()
    # Of eleven images epochs have as many updates; of four, two would be done.
    for others in (np.concatenate([first, first]), first[:8], first[:11], first[:4]):
        with pytest.raises(pj.UserError, match="it began with, 12, got (24|8|11|4);"):
            fit(others, 2)
    assert (tmp_path / "metrics.csv").read_text() == table
    fit(first, 2)
    assert [row.step for row in Run(tmp_path).rows()] == [3, 6]
    for wrong in (b"[1]", b"{", b"\xff", b"[" * 10**5, b"7"):
        for path in tmp_path.glob("checkpoints/*"):
            (path / "position.json").write_bytes(wrong)
            manifests.write(path, None)
        with pytest.raises(pj.UserError, match=r"position\.json must be .*as training"):
            fit(first, 3)
    # Checkpoints of earlier versions do not say how many.
    for path in tmp_path.glob("checkpoints/*"):
        (path / "position.json").unlink()
        manifests.write(path, None)
    fit(first[:11], 3)
    assert Run(tmp_path).rows()[-1].step == 9


# --- where samples go


@pytest.mark.parametrize(
    "wrong",
    [
        ["--temperature", "-1"],
        ["--guidance", "-1"],
        ["--size", "99999x3"],
        ["--batch-size", "0"],
    ],
)
def test_a_refused_job_begins_no_folder(plain: Path, wrong, tmp_path, capsys):
    folder = tmp_path / "many"
    line = refused(
        "sample", [f"--output={folder}/", *wrong, f"--workdir={plain}"], capsys
    )
    assert wrong[0].removeprefix("--") in line and not folder.exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            dict(output="a.png", entropy="a.png"),
            "--entropy must be another file than output",
        ),
        (dict(output="a.npz", complete="a.npz"), "--complete must be another file"),
        (dict(output="x.npz", known="./x.npz", complete="y.npz"), "--known must be"),
    ],
)
def test_a_file_is_not_overwritten_by_another(
    names, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    rows = ["--known-rows", "1"] if "complete" in names and "known" not in names else []
    flags = [f"--{name}={file}" for name, file in names.items()]
    line = refused("sample", [*flags, *rows], capsys)
    assert message in line and "which would overwrite it" in line
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_known_beforehand(tmp_path: Path, capsys):
    path = tmp_path / ("a" * 248 + ".png")  # whose scratch file's name is too long
    with pytest.raises(pj.UserError, match="in an existing folder, got .*too long"):
        require_writable(path, (".png",))
    require_writable(tmp_path / "b.png", (".png",))
    assert not list(tmp_path.iterdir())
    (tmp_path / "scores.npz").mkdir()
    arguments = ["--output", str(tmp_path), "--workdir", "digits"]
    assert "scores.npz" in refused("evaluate", arguments, capsys)


def test_a_folder_that_a_kill_left_goes_on(plain: Path, tmp_path: Path):
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / ".lock").touch()
    left = folder / scratch_name("samples.json")
    left.write_text("{")
    flags = ["--workdir", str(plain), "--num-images", "2", "--output", f"{folder}/"]
    sample.run(flags, "sample")
    names = {".lock", "samples.json", "images_0000000.npz"}
    assert {path.name for path in folder.iterdir()} == names


@pytest.mark.parametrize(
    "wrong", ["--workdir=no", "--data=./no.npy", "--outliers=./no.npy"]
)
def test_a_refused_evaluation_leaves_no_folder(
    wrong: str, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert "no" in refused("evaluate", ["--output=new", wrong], capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("evaluate", ["--workdir=no", "--output=new", "--batch-size=0"]),
        ("sample", ["--workdir=no", "--output=x.npy", "--batch-size=0"]),
        ("export", ["no", "x.pxs", "--num-images=0"]),
    ],
)
def test_counts_are_looked_at_before_anything_else(
    command: str, arguments: list[str], tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    flag = arguments[-1].removesuffix("=0")
    rule = f"{flag} must be an integer of at least 1"
    assert rule in refused(command, arguments, capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["mine", "samples.json"])
def test_a_folder_of_somebody_else_is_left_as_it_was(
    name: str, plain: Path, tmp_path: Path, capsys
):
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / name).write_text("[[1, 2]]")
    line = refused("sample", ["--output", f"{folder}/", f"--workdir={plain}"], capsys)
    assert "pass another output" in line or "pass another --output" in line
    assert [path.name for path in folder.iterdir()] == [name]


def test_a_model_is_not_put_in_place_of_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pj.UserError, match=r"got \. \(it is the current folder\)"):
        pj.save(tiny_model(), ".")
    assert Path.cwd() == tmp_path


# --- archives


def archive(path: Path, **members: object) -> str:
    """A .npz file; bytes become a member that is no array."""
    with zipfile.ZipFile(path, "w") as file:
        for name, member in members.items():
            if isinstance(member, bytes):
                file.writestr(name, member)
                continue
            content = io.BytesIO()
            np.save(content, member)
            file.writestr(f"{name}.npy", content.getvalue())
    return str(path)


FOUR = np.zeros((4, 6, 5, 1), np.uint8)


def test_members_that_are_not_asked_for_may_be_anything(tmp_path: Path):
    path = archive(tmp_path / "x.npz", images=b"x", known=FOUR, split=np.array(["a"]))
    assert list(read_arrays("known", path, ("known",), ("condition",))) == ["known"]
    with pytest.raises(pj.UserError, match="must hold an array named labels, got .*im"):
        read_arrays("complete", path, ("labels",))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (dict(images=b"x"), "got .*x.npz with images of something else"),
        (dict(images=FOUR, labels=np.array(["3"] * 4)), "with labels of <U1"),
    ],
)
def test_what_is_asked_for_must_be_numbers(members: dict, message: str, tmp_path: Path):
    path = archive(tmp_path / "x.npz", **members)
    with pytest.raises(pj.UserError, match=f"complete must be .* {message}"):
        read_images("complete", path)
    np.save(tmp_path / "x.npy", np.zeros(3, [("a", "i4")]))
    with pytest.raises(pj.UserError, match="known must be .* of numbers, got .*i4"):
        read_mask("known", str(tmp_path / "x.npy"))


def test_one_file_may_be_read_for_several_flags(
    plain: Path, image_file: Path, tmp_path: Path
):
    images = np.load(image_file)["images"]
    both = archive(tmp_path / "x.npz", images=images, known=np.ones((3, 6, 5), bool))
    flags = ["--workdir", str(plain), "--complete", both, "--known", both]
    output = tmp_path / "y.npz"
    sample.run([*flags, "--num-completions=1", "--output", str(output)], "sample")
    assert (np.load(output)["images"][:, 0] == images).all()


@pytest.mark.parametrize("name", ["images", "labels", "condition_map", "split"])
def test_data_that_are_no_arrays_are_refused(name: str, tmp_path: Path):
    members = dict(images=FOUR, labels=np.zeros(4, int)) | {name: b"xyz"}
    archive(tmp_path / "x.npz", **members)
    with pytest.raises(
        pj.UserError, match=f"^{name} of .*x.npz must be an array of num"
    ):
        array_files.open_arrays(tmp_path / "x.npz")


def claiming(shape: tuple[int, ...]) -> bytes:
    """An array's file whose header claims this shape, and which holds 64 bytes."""
    file = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + bytes(64)


@pytest.mark.parametrize("name", ["images", "labels", "x.npy"])
@pytest.mark.parametrize("shape", [(10**8, 10**3, 10**3), (10**9, 10**9, 10**9)])
def test_a_file_that_claims_too_much_is_named(
    name: str, shape: tuple[int, ...], tmp_path: Path, capsys, recwarn
):
    path = tmp_path / "x.npy"
    if name == "x.npy":
        path.write_bytes(claiming(shape))
    else:
        path = tmp_path / "x.npz"
        np.savez(path, images=FOUR)
        with zipfile.ZipFile(path, "a" if name == "labels" else "w") as members:
            members.writestr(f"{name}.npy", claiming(shape))
    flags = ["--data.source", "images", "--data.path", str(path)]
    line = refused("train", [*flags, "--workdir", str(tmp_path / "run")], capsys)
    assert str(path) in line and "save it again" in line
    assert not recwarn.list


@pytest.mark.parametrize("shape", [(), (3,), (4, 1)])
def test_labels_of_other_images_are_refused(
    shape: tuple[int, ...],
    plain: Path,
    tmp_path: Path,
    capsys,
):
    path = archive(tmp_path / "x.npz", images=FOUR, labels=np.zeros(shape, int))
    flags = ["--complete", path, "--known-rows", "2", "--workdir", str(plain)]
    line = refused("sample", [*flags, "--output", str(tmp_path / "y.npz")], capsys)
    assert "--complete must hold a label for each image" in line


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            dict(condition_map=np.zeros((4, 0, 0, 1), np.int32)),
            "condition_map of x.npz",
        ),
        (dict(condition_map=np.zeros((4, 5, 5, 0))), "must be finite numbers or codes"),
        (dict(condition=np.full((4, 2), 1e300)), "condition of x.npz must be finite"),
        (dict(split=np.array([b"\xff"] * 4)), "must be .N. of the names train"),
    ],
)
def test_what_stands_beside_images_is_named(arrays: dict, message: str):
    with pytest.raises(pj.UserError, match=message):
        read_beside(Path("x.npz"), arrays, 4)


def test_splits_are_named_by_bytes_too():
    names = np.array([b"train", b"test", b"train", b"validation"])
    found = read_beside(Path("x.npz"), {"split": names}, 4)[1]
    assert found is not None and found.tolist() == [0, 2, 0, 1]


# --- flags that would have had no effect


def test_codes_are_not_read_from_pictures(tmp_path: Path):
    with pytest.raises(pj.UserError, match="data.values codes needs a .npy or .npz"):
        open_own(DataConfig("images", path=str(tmp_path), values="codes"))


def test_a_size_of_maps_needs_a_model_with_maps(plain: Path, tmp_path: Path, capsys):
    flags = [str(plain), str(tmp_path / "x.pxs"), "--map-size"]
    line = refused("export", [*flags, "3x3"], capsys)
    assert "--map-size needs a model with condition maps" in line
    assert not list(tmp_path.iterdir())


def test_a_number_of_images_is_refused_with_a_sampler(tmp_path: Path, capsys):
    flags = ["--sampler", "x.pxs", "--output", str(tmp_path / "x.npz")]
    line = refused("sample", [*flags, "--num-images", "64"], capsys)
    assert "--num-images; leave that out" in line


def test_outliers_need_a_model_without_conditions_of_its_images(tmp_path: Path, capsys):
    model = tiny_model(condition_features=2)
    run = run_of(tmp_path / "run", model)
    shared = np.random.default_rng(0)
    np.savez(
        tmp_path / "x.npz",
        images=random_images(model, 4),
        condition=shared.normal(size=(4, 2)).astype("f4"),
    )
    flags = ["--workdir", str(run), "--data", str(tmp_path / "x.npz")]
    line = refused("evaluate", [*flags, "--outliers", "digits"], capsys)
    assert "--outliers need a model without condition vectors or maps" in line
    evaluate.run([*flags, "--background", str(run)], "evaluate")
    assert "0.000 +- 0.000 nats/image less than" in capsys.readouterr().out


def test_a_split_without_images_is_named(tmp_path: Path, capsys):
    run = run_of(tmp_path / "run", tiny_model(height=4, width=5))
    np.save(tmp_path / "x.npy", np.zeros((5, 4, 5), np.uint8))
    data = DataConfig("images", path=str(tmp_path / "x.npy"), validation_images=0)
    Run(run).write_config(dataclasses.replace(Run(run).config(), data=data))
    line = refused("evaluate", ["--workdir", str(run)], capsys)
    assert "--split must be one that has images, got test with none" in line
    line = refused("publish", [str(run), str(tmp_path / "new"), "--evaluate"], capsys)
    assert "--evaluate needs test images" in line


def test_another_sets_folder_is_looked_at(tmp_path: Path):
    own = DataConfig("images", path="own.npz")
    named = evaluate.Settings(data="fashion_mnist", data_dir="there")
    found = evaluate._data_config(named, own)
    assert (found.source, found.data_dir, found.path) == (
        "fashion_mnist",
        "there",
        None,
    )
    catalogue = DataConfig("mnist", data_dir="here")
    again = evaluate._data_config(dataclasses.replace(named, data_dir=None), catalogue)
    assert again.data_dir == "here"


@pytest.mark.parametrize(
    ("flags", "needed"),
    [
        (["--model.num-mixtures", "3"], "--model.distribution logistic_mixture, got 3"),
        (["--model.embedding_features=4"], "--model.pixel-input embedding, got 4"),
        (["--model.condition-width", "5"], "--model.condition-channels above 0, got 5"),
    ],
)
def test_settings_of_what_a_model_has_not_are_refused(
    flags: list[str], needed: str, tmp_path: Path, capsys
):
    workdir = tmp_path / "run"
    brief = ["--training.epochs", "1", "--model.num-blocks", "0"]
    line = refused("train", [*flags, *brief, "--workdir", str(workdir)], capsys)
    assert f" needs {needed} without it; pass both or neither" in line
    assert not workdir.exists()


def test_a_run_with_idle_settings_goes_on(tmp_path: Path, capsys):
    run = run_of(tmp_path / "run", tiny_model(num_mixtures=3))
    flags = ["--model.num-mixtures", "3", "--workdir", str(run)]
    line = refused("train", flags, capsys)
    assert "goes on only with its own settings" in line and "mixtures" not in line


def test_a_set_of_the_catalogue_is_no_folder(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    found = evaluate._data_config(evaluate.Settings(data="mnist"), DataConfig())
    assert (found.source, found.path) == ("mnist", None)


def test_what_a_preset_brings_may_lie_idle():
    model = dataclasses.replace(
        pj.preset("fashion-mnist-pp").model, distribution="categorical"
    )
    assert model.num_mixtures == 5
    assert "num_mixtures" in model.idle
    busy = {"distribution": "logistic_mixture", "pixel_input": "embedding"}
    assert not pj.PixelCNNConfig.tiny(**busy, condition_channels=1).idle


# --- what is named


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("evaluate", ["--outliers", "photos"], "--outliers must be the name of"),
        ("evaluate", ["--data", "photos"], "pass ./photos"),
        (
            "compress",
            ["x.npz", "--workdir", "digits"],
            "the input and the output must both be named",
        ),
        (
            "export",
            ["digits", "--size=3x3"],
            "the run and the output must both be named",
        ),
        (
            "sample",
            ["--labels", "9" * 5000, "--workdir", "fashion-mnist"],
            "--labels must",
        ),
    ],
)
def test_the_flag_at_fault_is_named(
    command, arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert message in refused(command, arguments, capsys)


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("compress", ["levels.npz", "x.pxl"], "levels of levels.npz must lie in 0 to"),
        (
            "sample",
            ["--complete", "levels.npz", "--known-rows", "1"],
            "known levels of levels.npz must lie in 0 to",
        ),
        (
            "sample",
            ["--complete", "levels.npz"],
            "error: --known-rows or --known must say which",
        ),
        ("sample", ["--known-rows", "1"], "need images to complete, got none; add --c"),
        (
            "sample",
            ["--complete", "photo.png", "--known-rows", "1"],
            "--complete must be a .npy or .npz file of levels, or a folder of"
            " images, got photo.png; put it into a folder and pass that",
        ),
        (
            "sample",
            ["--complete", "none", "--known-rows", "1"],
            "or a folder of images, got none, which is not there; pass one",
        ),
        ("compress", ["none.npz", "x.pxl"], "none.npz (No such file or directory); p"),
        ("compress", ["photos", "x.pxl"], "photos (Is a directory); pass one that can"),
        ("compress", ["photo.png", "x.pxl"], "photo.png (another kind of file); save"),
        ("compress", ["objects.npy", "x.pxl"], "objects.npy (Python objects); save it"),
        ("decompress", ["none.pxl", "x.npz"], "directory); pass one that compress has"),
        ("sample", ["--sampler", "none.pxs"], "directory); pass one that export"),
        (
            "train",
            ["digits", "--data.source", "images", "--data.path", "objects.npy"],
            "objects.npy must be a .npy or .npz file of numbers, got: Python objects;",
        ),
    ],
)
def test_a_file_of_another_kind_or_levels_is_refused_in_plain_words(
    command, arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("photo.png")
    np.savez("levels.npz", images=np.full((1, 8, 8, 1), 9))
    np.save("objects.npy", np.array([{}, 1], object), allow_pickle=True)
    line = refused(command, arguments, capsys)
    assert message in line
    assert "allow_pickle" not in line and "Errno" not in line


def test_a_picture_too_large_for_its_format_is_refused(plain, tmp_path, capsys):
    flags = ["--workdir", str(plain), "--num-images", "1", "--size", "1x16500"]
    flags += [
        "--output",
        str(tmp_path / "x.npz"),
        "--animate",
        str(tmp_path / "x.webp"),
    ]
    line = refused("sample", flags, capsys)
    assert "--animate must show a picture of at most 16383 pixels" in line
    assert not list(tmp_path.iterdir())


def test_completions_are_counted_with_what_is_shown_beside(
    plain: Path,
    image_file: Path,
    tmp_path: Path,
    capsys,
):
    flags = [
        "--workdir",
        str(plain),
        "--complete",
        str(image_file),
        "--known-rows",
        "1",
    ]
    flags += ["--output", str(tmp_path / "x.npz"), "--entropy", str(tmp_path / "x.png")]
    line = refused("sample", [*flags, "--num-completions", "400"], capsys)
    assert "--entropy shows at most 1024 images, got 1206" in line
    assert "--num-completions must be" in refused(
        "sample", [*flags, "--num-completions", "-9"], capsys
    )


def test_numbers_of_thousands_of_digits_are_no_steps(tmp_path: Path):
    path = tmp_path / tables.METRICS
    head = "epoch,step,train_bits_per_dim,validation_bits_per_dim\n"
    path.write_text(f"{head}1,{'9' * 5000},1.0,1.0\n2,4,1.0,1.0\n")
    assert [row.step for row in tables.read_metrics(tmp_path)] == [4]


def test_a_name_in_other_bytes_is_said(monkeypatch):
    said = io.BytesIO()
    strict = io.TextIOWrapper(said, "utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", strict)
    output.say("caf\udce9.npz: 2 images")
    output.say("more")
    assert said.getvalue().decode().splitlines() == ["caf\\udce9.npz: 2 images", "more"]
