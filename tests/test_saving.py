"""A model in a folder of its own loads bit for bit, and tells where it is from."""

import dataclasses
import errno
import shlex
import shutil
import subprocess
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import pixelcnn_jax as pj
from pixelcnn_jax import config, data
from pixelcnn_jax.commands import publish, train
from pixelcnn_jax.commands.model_card import training_command
from pixelcnn_jax.likelihood import evaluate
from pixelcnn_jax.params import to_params
from pixelcnn_jax.runs import Run
from pixelcnn_jax.training.beginning import first_model
from tests.conftest import (
    assert_same_weights,
    random_images,
    refused,
    slowly,
    tiny_model,
    with_training,
)
from tests.family import member


@pytest.mark.parametrize("name", ["book-wide", *slowly("pp")])
def test_a_saved_model_loads_bit_for_bit(name: str, tmp_path: Path):
    pj.save(member(name), tmp_path / "below" / "mine")
    loaded = pj.load(tmp_path / "below" / "mine")
    assert loaded.config == member(name).config
    assert_same_weights(loaded, member(name))


def test_damage_of_a_saved_model_is_found(tmp_path: Path):
    pj.save(tiny_model(), tmp_path / "mine")
    files = [p for p in (tmp_path / "mine" / "checkpoints").rglob("*") if p.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    with pytest.raises(pj.UserError, match="differs from what was saved"):
        pj.load(tmp_path / "mine")


def test_saving_overwrites_nothing_and_leaves_no_half(tmp_path: Path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    for taken in ("full", "full/mine"):
        with pytest.raises(pj.UserError, match="folder must be a new or an empty one"):
            pj.save(tiny_model(), tmp_path / taken)
    with pytest.raises(pj.UserError, match="one of this package, got int"):
        pj.save(3, tmp_path / "new")  # pyright: ignore[reportArgumentType]

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pixelcnn_jax.runs.run.write_text", full)
        with pytest.raises(pj.UserError, match="can be written, got .*No space"):
            pj.save(tiny_model(), tmp_path / "new")
    assert {p.name for p in tmp_path.iterdir()} == {"full"}
    (tmp_path / "empty").mkdir()
    pj.save(tiny_model(), tmp_path / "empty")
    pj.load(tmp_path / "empty")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two saves, the first the better one, with the places of a machine."""
    kept = Run(tmp_path / "run")
    kept.path.mkdir()
    place = config.DataConfig("mnist", data_dir="/home/somebody/secret")
    kept.write_config(
        config.Config(workdir=str(kept.path), model=tiny_model().config, data=place)
    )
    for step, bits in ((10, 1.25), (20, 3.0)):
        model = tiny_model(seed=step)
        items = {"params": to_params(model)[1], "training": {"step": jnp.int32(step)}}
        kept.checkpoints.save(step, items, bits)
    return kept.path


def test_a_published_run_holds_what_sampling_needs_and_its_card(
    run: Path, tmp_path: Path, capsys
):
    folder = tmp_path / "shared"
    publish.run([str(run), str(folder), "--licence", "MIT"], "publish")
    assert "at step 10" in capsys.readouterr().out
    assert_same_weights(pj.load(folder), tiny_model(seed=10))
    assert {path.name for path in folder.iterdir()} == {
        *("README.md", "SHA256SUMS", "checkpoints", "config.json")
    }
    assert not list(folder.rglob("training"))
    card = (folder / "README.md").read_text()
    for text in ("MNIST", "CC BY-SA 3.0", "python train.py", "1.2500", ": MIT."):
        assert text in card
    texts = [p.read_bytes() for p in folder.rglob("*") if p.is_file()]
    # Neither where the data was nor where the model was saved.
    places = (b"somebody", str(tmp_path).encode())
    assert not any(place in text for text in texts for place in places)
    assert (folder / "SHA256SUMS").read_text().count("\n") == len(texts) - 1
    if shutil.which("sha256sum"):
        check = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
        assert subprocess.run(check, cwd=folder).returncode == 0


def test_a_published_run_on_own_images_tells_no_place(run: Path, tmp_path: Path):
    kept, folder = Run(run), tmp_path / "shared"
    own = config.DataConfig("images", path="/home/somebody/secret/birds")
    kept.write_config(dataclasses.replace(kept.config(), data=own))
    publish.run([str(run), str(folder)], "publish")
    texts = [p.read_bytes() for p in folder.rglob("*") if p.is_file()]
    assert not any(b"somebody" in text for text in texts)
    assert "the author's own images, birds" in (folder / "README.md").read_text()


def test_a_card_has_the_figure_of_the_test_images_if_asked_for(run: Path, tmp_path):
    kept, folder = Run(run), tmp_path / "shared"
    kept.write_config(dataclasses.replace(kept.config(), data=config.DataConfig()))
    publish.run([str(run), str(folder), "--evaluate"], "publish")
    images = data.load(config.DataConfig(), kept.config().model).test.images
    bits = evaluate(tiny_model(seed=10), images).bits_per_dim
    assert f"{bits:.4f} on the test images" in (folder / "README.md").read_text()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EEXIST])
def test_a_run_that_cannot_be_read_is_not_blamed_on_the_folder_to_publish(
    number: int, run: Path, tmp_path: Path, monkeypatch
):
    def fail(*_):
        raise OSError(number, "reading", "config.json")

    folder = tmp_path / "shared"
    with monkeypatch.context() as patch:
        patch.setattr(Run, "load_with_step", fail)
        with pytest.raises(OSError, match="reading"):
            publish.run([str(run), str(folder)], "publish")
    # That which is written is.
    monkeypatch.setattr(publish, "write_text", fail)
    with pytest.raises(pj.UserError, match=f"^folder must be .*, got {folder}"):
        publish.run([str(run), str(folder)], "publish")
    assert not folder.exists() and [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_was_published_can_be_published_again(run: Path, tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    publish.run([str(run), str(first), "--checkpoint", "latest"], "publish")
    publish.run([str(first), str(second)], "publish")
    assert_same_weights(pj.load(second), tiny_model(seed=20))


def test_publish_refuses(run: Path, tmp_path: Path, capsys):
    for arguments, message in (
        ([], "the run and the folder must both be named, got neither"),
        ([str(run)], "must both be named"),
        ([str(run), str(run)], "folder must be a new or an empty one"),
        ([str(tmp_path / "no"), str(tmp_path / "new")], "must hold config.json"),
    ):
        assert message in refused("publish", arguments, capsys)
    assert not (tmp_path / "new").exists()


def test_the_card_names_the_command_that_trains():
    assert training_command(pj.preset("mnist")) == "python train.py mnist"
    other = with_training(pj.preset("digits-gated"), clip_norm=1.0, epochs=3)
    assert training_command(other) == (
        "python train.py digits-gated --training.epochs 3 --training.clip-norm 1.0"
    )


def test_the_cards_command_has_no_setting_without_effect():
    preset = pj.preset("fashion-mnist-pp")
    model = dataclasses.replace(
        preset.model, distribution="categorical", num_mixtures=10
    )
    other = dataclasses.replace(preset, model=model)
    assert training_command(other) == (
        "python train.py fashion-mnist-pp --model.distribution categorical"
    )


def test_the_card_names_what_images_of_ones_own_would_decide(tmp_path: Path):
    np.save(tmp_path / "my photos.npy", np.zeros((30, 4, 5), np.uint8))
    digits = pj.preset("digits")
    trained = dataclasses.replace(
        digits,
        model=dataclasses.replace(digits.model, height=4, width=5),
        data=config.DataConfig("images", path=str(tmp_path / "my photos.npy")),
    )
    words = shlex.split(training_command(trained))
    assert words[:3] == ["python", "train.py", "digits"]
    given = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "train", given.append)
        train.run(words[2:], "train")
    assert given == [trained]


# --- a run that begins with the weights of another


def begun(model: pj.PixelModel, init_from: Path | str) -> pj.PixelModel:
    settings = config.TrainingConfig(init_from=str(init_from))
    images = pj.ImageSet(random_images(model, 2))
    return first_model(model, config.Config(training=settings), images)


def test_a_new_run_begins_with_the_weights_of_another(tmp_path: Path):
    pj.save(tiny_model(seed=3), tmp_path / "other")
    assert_same_weights(begun(tiny_model(), tmp_path / "other"), tiny_model(seed=3))


def test_weights_that_do_not_fit_are_listed(tmp_path: Path):
    pj.save(member("book-wide"), tmp_path / "wide")
    with pytest.raises(pj.UserError) as raised:
        begun(tiny_model(), tmp_path / "wide")
    for text in (
        "blocks.0.condition.table [3, 4] (here missing)",
        "blocks.1.expand.kernel missing (here [1, 4, 8])",
        "and 3 more; set the model as there",
    ):
        assert text in str(raised.value)
    with pytest.raises(pj.UserError, match="training.init_from must be a run that"):
        begun(tiny_model(), tmp_path / "no")


@pytest.mark.slow
def test_the_optimizer_of_a_run_from_another_begins_afresh(tmp_path: Path):
    first, images = tiny_model(), random_images(tiny_model(), 8)
    pj.save(first, tmp_path / "first")
    training = config.TrainingConfig(
        epochs=1, batch_size=4, learning_rate=1e-12, init_from=str(tmp_path / "first")
    )
    settings = config.Config(model=first.config, training=training)
    pj.fit(settings, images, workdir=tmp_path / "run")
    _, expected = to_params(first)
    for name, x in to_params(pj.load(tmp_path / "run"))[1].items():
        np.testing.assert_allclose(x, expected[name], atol=1e-8)
    kept = Run(tmp_path / "run").config().training
    assert kept == training
    # Two updates of its own, and no more.
    assert Run(tmp_path / "run").checkpoints.steps() == [2]


def test_a_saved_model_is_no_run_to_go_on_with(tmp_path: Path):
    first = tiny_model()
    pj.save(first, tmp_path / "mine")
    kept = Run(tmp_path / "mine")
    with pytest.raises(pj.UserError, match="must hold training to go on .*init_from"):
        kept.restore("latest", {"params": to_params(first)[1], "training": {}}, first)
