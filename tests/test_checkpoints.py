"""Nothing damaged is restored; what is saved comes back bit for bit."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

import pixelcnn_jax as pj
from pixelcnn_jax import checkpoints, config
from pixelcnn_jax.params import to_params
from tests.conftest import tiny_model


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Three saves, of which the first is the best."""
    folder = tmp_path / "run"
    folder.mkdir()
    settings = config.Config(model=tiny_model().config)
    checkpoints.write_text(folder / "config.json", config.to_json(settings))
    with checkpoints.Writer(folder) as writer:
        for step, bits in ((10, 1.0), (20, 3.0), (30, 2.0)):
            _, params = to_params(tiny_model(seed=step))
            writer.save(step, {"params": params}, bits)
    return folder


def equal(a, b) -> bool:
    (_, left), (_, right) = to_params(a), to_params(b)
    return all(bool((left[name] == right[name]).all()) for name in left | right)


def test_best_and_latest_come_back_bit_for_bit(run: Path):
    assert equal(pj.load(run), tiny_model(seed=10))
    assert equal(pj.load(str(run), "latest"), tiny_model(seed=30))


def test_only_the_latest_two_and_the_best_are_kept(run: Path):
    with checkpoints.Writer(run) as writer:
        writer.save(40, {"params": {"w": np.ones(2)}}, 2.5)
        writer.save(50, {"params": {"w": np.ones(2)}}, None)
    assert checkpoints.steps(run) == [10, 40, 50]


def test_without_validation_the_best_is_the_latest(tmp_path: Path):
    with checkpoints.Writer(tmp_path) as writer:
        for step in (1, 2):
            writer.save(step, {"params": {"w": np.ones(2)}}, None)
    assert checkpoints.choose(tmp_path, "best") == 2


def largest_file(folder: Path) -> Path:
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"]
    return max(files, key=lambda p: p.stat().st_size)


def test_one_flipped_bit_is_found_and_the_good_checkpoint_named(run: Path):
    path = largest_file(run / "checkpoints" / "30")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(pj.UserError, match="differs .*checkpoint of step 20 is good"):
        pj.load(run, "latest")
    assert equal(pj.load(run, "best"), tiny_model(seed=10))


def test_every_file_that_is_missing_is_found(run: Path):
    folder = run / "checkpoints" / "30"
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        path.unlink()
        assert "missing" in str(checkpoints.damage(folder)), path
        path.write_bytes(content)
    assert checkpoints.damage(folder) is None


def test_a_damaged_only_checkpoint_leaves_no_cure_but_a_new_run(run: Path):
    for step in (10, 20, 30):
        largest_file(run / "checkpoints" / str(step)).unlink()
    with pytest.raises(pj.UserError, match="missing; no other checkpoint is good"):
        pj.load(run)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path):
    with pytest.raises(pj.UserError, match="must hold config.json"):
        pj.load(tmp_path)
    text = config.to_json(config.Config())
    checkpoints.write_text(tmp_path / "config.json", text)
    with pytest.raises(pj.UserError, match="must hold a checkpoint"):
        pj.load(tmp_path)


def test_hidden_files_of_the_system_are_no_damage(run: Path):
    (run / "checkpoints" / "30" / ".DS_Store").write_text("x")
    assert checkpoints.damage(run / "checkpoints" / "30") is None
    (run / "checkpoints" / "30" / "more").write_text("x")
    assert "more was added" in str(checkpoints.damage(run / "checkpoints" / "30"))


def test_a_config_that_is_no_text_is_refused(run: Path):
    (run / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(pj.UserError, match="must be a readable text file"):
        pj.load(run)


def test_the_first_runs_configs_still_load():
    """Fields that came later take the values that the first runs had."""
    text = """{
      "format": 1, "seed": 3, "workdir": "runs/digits",
      "model": {
        "kind": "pixelcnn", "height": 16, "width": 16, "channels": 1, "levels": 4,
        "features": 64, "num_blocks": 5, "first_kernel_size": 7, "kernel_size": 5
      },
      "data": {"source": "digits", "data_dir": null, "validation_images": 200},
      "training": {
        "epochs": 50, "batch_size": 32, "learning_rate": 0.002, "schedule": "cosine",
        "microbatch_size": null
      }
    }"""
    settings = config.from_json(text)
    assert settings.model == pj.PixelCNNConfig(features=64, kernel_size=5)
    assert (settings.model.dropout, settings.training.ema_decay) == (0, 0)


def test_config_survives_its_file():
    for model in (pj.PixelCNNConfig.tiny(), pj.GatedPixelCNNConfig.tiny()):
        settings = config.Config(seed=3, model=model)
        assert config.from_json(config.to_json(settings)) == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "settings as train.py writes them"),
        ("[]", "settings as train.py writes them"),
        ('{"format": 99}', "must have format 1, got 99"),
        ('{"format": 1, "model": {"kind": "other"}}', "got KeyError"),
    ],
)
def test_an_unreadable_config_is_refused(text: str, message: str):
    with pytest.raises(pj.UserError, match=message):
        config.from_json(text)


def test_a_config_with_an_unknown_field_is_refused():
    text = config.to_json(config.Config()).replace('"seed"', '"sead"')
    with pytest.raises(pj.UserError, match="sead"):
        config.from_json(text)


def test_the_shipped_model_is_a_good_density_model():
    model = pj.load("digits")
    settings = checkpoints.read_config(checkpoints.run_folder("digits"))
    from pixelcnn_jax import data

    test = data.load(settings.data, settings.model).test.images
    assert 0.2 < float(pj.bits_per_dim(model, test).mean()) < 0.42
    drawn = np.asarray(pj.sample(model, jax.random.key(0), 64))
    own = float(pj.bits_per_dim(model, drawn).mean())
    assert 0.2 < own < 0.45  # samples are typical
    # The levels of samples are as frequent as those of digits.
    levels = [np.bincount(x.ravel(), minlength=4) / x.size for x in (drawn, test)]
    np.testing.assert_allclose(levels[0], levels[1], atol=0.03)
    assert dataclasses.asdict(model.config)["levels"] == 4
