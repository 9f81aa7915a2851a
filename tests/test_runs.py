"""Nothing damaged is restored; what is saved comes back bit for bit."""

import contextlib
import dataclasses
import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import pixelcnn_jax as pj
from pixelcnn_jax import config, data, likelihood
from pixelcnn_jax.params import to_params
from pixelcnn_jax.runs import Run, manifests
from tests.conftest import DATA_DIR, needs_real_data, tiny_model, with_training


@pytest.fixture(scope="module")
def three_saves(tmp_path_factory) -> Path:
    """A run of three saves, of which the first is the best."""
    folder = tmp_path_factory.mktemp("three_saves")
    settings = config.Config(model=tiny_model().config)
    kept = Run(folder)
    kept.write_config(settings)
    for step, bits in ((10, 1.0), (20, 3.0), (30, 2.0)):
        _, params = to_params(tiny_model(seed=step))
        kept.checkpoints.save(step, {"params": params}, bits)
    return folder


@pytest.fixture
def run(three_saves: Path, tmp_path: Path) -> Path:
    """A copy of `three_saves` to change."""
    return Path(shutil.copytree(three_saves, tmp_path / "run"))


def damage(folder: Path) -> str:
    found = manifests.damage(folder)
    return "" if found is None else found.problem


def equal(a, b) -> bool:
    (_, left), (_, right) = to_params(a), to_params(b)
    return all(bool((left[name] == right[name]).all()) for name in left | right)


def test_best_and_latest_come_back_bit_for_bit(run: Path):
    assert equal(pj.load(run), tiny_model(seed=10))
    assert equal(pj.load(str(run), "latest"), tiny_model(seed=30))


def test_only_the_latest_two_and_the_best_are_kept(run: Path):
    kept = Run(run).checkpoints
    kept.save(40, {"params": {"w": np.ones(2)}}, 2.5)
    kept.save(50, {"params": {"w": np.ones(2)}}, None)
    assert kept.steps() == [10, 40, 50]
    assert sorted(p.name for p in kept.folder.iterdir()) == ["10", "40", "50"]


def test_without_validation_the_best_is_the_latest(tmp_path: Path):
    kept = Run(tmp_path).checkpoints
    for step in (1, 2):
        kept.save(step, {"params": {"w": np.ones(2)}}, None)
    assert kept.choose("best") == 2


def test_a_score_that_is_no_number_is_never_the_best(tmp_path: Path):
    kept = Run(tmp_path).checkpoints
    for step, bits in ((1, np.nan), (2, 1.0), (3, np.nan)):
        kept.save(step, {"params": {"w": np.ones(2)}}, bits)
    assert kept.choose("best") == 2


def test_other_checkpoints_than_best_and_latest_are_refused(run: Path):
    with pytest.raises(pj.UserError, match="best or latest, got 'lates'; try best"):
        pj.load(run, "lates")


@pytest.mark.parametrize("killed_at", ["write", "unlink", "rmtree"])
def test_a_kill_in_mid_prune_leaves_no_checkpoint_that_only_looks_whole(
    killed_at: str, run: Path, monkeypatch
):
    class Killed(Exception):
        pass

    def die(*_):
        raise Killed

    def half_delete(folder: Path):
        largest_file(folder).unlink()
        raise Killed

    places = {
        "write": (manifests, "write", die),
        "unlink": (Path, "unlink", die),
        "rmtree": (shutil, "rmtree", half_delete),
    }
    kept = Run(run).checkpoints
    with monkeypatch.context() as patch:
        patch.setattr(*places[killed_at])
        with pytest.raises(Killed):
            kept.save(40, {"params": to_params(tiny_model())[1]}, 2.5)
    for step in kept.steps():
        assert damage(run / "checkpoints" / str(step)) == ""
    assert equal(pj.load(run), tiny_model(seed=10))


def test_a_reader_takes_the_next_checkpoint_if_its_own_is_pruned(
    run: Path, monkeypatch
):
    """As beside a training that saves while the model loads."""
    read, calls = manifests.damage, iter(range(9))

    def prune_and_read(folder: Path):
        if next(calls) == 0:
            (folder / manifests.MANIFEST).unlink()
            shutil.rmtree(folder)
        return read(folder)

    monkeypatch.setattr(manifests, "damage", prune_and_read)
    assert equal(pj.load(run, "latest"), tiny_model(seed=20))


def test_leftovers_of_interrupted_saves_are_removed(run: Path):
    place = run / "checkpoints"
    for name in ("40", "40.orbax-checkpoint-tmp-1", "007", "mine"):
        (place / name).mkdir()
    Run(run).checkpoints.remove_interrupted()
    assert {p.name for p in place.iterdir()} == {"10", "20", "30", "007", "mine"}


def largest_file(folder: Path) -> Path:
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"]
    return max(files, key=lambda p: p.stat().st_size)


def test_one_flipped_bit_is_found_and_the_good_checkpoint_named(run: Path):
    path = largest_file(run / "checkpoints" / "30")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(pj.UserError, match="differs .*step 20 is good: move"):
        pj.load(run, "latest")
    assert equal(pj.load(run, "best"), tiny_model(seed=10))


def test_every_file_that_is_missing_is_found(run: Path):
    folder = run / "checkpoints" / "30"
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        path.unlink()
        assert "missing" in damage(folder), path
        path.write_bytes(content)
    assert damage(folder) == ""


def test_no_cure_is_offered_that_would_lose_what_may_be_whole(run: Path, monkeypatch):
    def deny(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(manifests, "_sha256", deny)
        with pytest.raises(pj.UserError, match="can't be read .*; make it readable"):
            pj.load(run)

    for step in (10, 20, 30):
        largest_file(run / "checkpoints" / str(step)).unlink()
    with pytest.raises(pj.UserError, match="missing; no other .* good: restore"):
        pj.load(run)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path):
    with pytest.raises(pj.UserError, match="must hold config.json"):
        pj.load(tmp_path)
    Run(tmp_path).write_config(config.Config())
    with pytest.raises(pj.UserError, match="must hold a checkpoint"):
        pj.load(tmp_path)


def test_files_that_others_put_there_are_no_damage(run: Path):
    folder = run / "checkpoints" / "30"
    for name in (".DS_Store", "Thumbs.db", "params/Thumbs.db", "params/d/Thumbs.db"):
        (folder / name).write_text("x")
    assert equal(pj.load(run, "latest"), tiny_model(seed=30))


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
    training = settings.training
    assert (training.beta1, training.beta2) == (0.9, 0.999)
    assert training.learning_rate_decay == 1


def test_config_survives_its_file():
    for model in (pj.PixelCNNConfig.tiny(), pj.GatedPixelCNNConfig.tiny()):
        settings = config.Config(seed=3, model=model)
        assert config.from_json(config.to_json(settings)) == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "settings as training writes them"),
        ("[]", "settings as training writes them"),
        ('{"format": 99}', "must have format 1 or 2, got 99"),
        ('{"format": 1, "model": {"kind": "other"}}', "got KeyError"),
    ],
)
def test_an_unreadable_config_is_refused(text: str, message: str):
    with pytest.raises(pj.UserError, match=message):
        config.from_json(text)


def unguarded(text: str) -> str:
    """A config.json as one makes it who edits it on purpose."""
    return "".join(x for x in text.splitlines(True) if '"sha256"' not in x)


def test_a_config_with_an_unknown_field_is_refused():
    text = unguarded(config.to_json(config.Config())).replace('"seed"', '"sead"')
    with pytest.raises(pj.UserError, match="sead"):
        config.from_json(text)


def test_the_shipped_model_is_a_good_density_model():
    model = pj.load("digits")
    settings = Run.named("digits").config()
    test = data.load(settings.data, settings.model).test.images
    assert 0.2 < float(pj.bits_per_dim(model, test).mean()) < 0.42
    drawn = np.asarray(pj.sample(model, jax.random.key(0), 64))
    own = float(pj.bits_per_dim(model, drawn).mean())
    assert 0.2 < own < 0.45  # samples are typical
    # The levels of samples are as frequent as those of digits.
    levels = [np.bincount(x.ravel(), minlength=4) / x.size for x in (drawn, test)]
    np.testing.assert_allclose(levels[0], levels[1], atol=0.03)
    assert dataclasses.asdict(model.config)["levels"] == 4


@needs_real_data
@pytest.mark.slow
def test_the_shipped_model_of_fashion_mnist_is_as_good_as_its_card_says():
    folder = Run.named("fashion-mnist").path
    assert sum(file.stat().st_size for file in folder.rglob("*")) < 3_000_000
    assert "0.4302 on the test images" in (folder / "README.md").read_text()
    run = pj.preset("fashion-mnist-16")
    training = Run.named("fashion-mnist").config().training
    # Measured where it was trained; by default it still is.
    assert dataclasses.replace(training, microbatch_size=None) == run.training
    source = dataclasses.replace(run.data, data_dir=f"{DATA_DIR}/fashion_mnist")
    test, model = data.load(source, run.model).test, pj.load("fashion-mnist")
    assert test.labels is not None
    bits = pj.bits_per_dim(model, test.images[:1000], test.labels[:1000])
    np.testing.assert_allclose(bits.mean(), 0.42966, atol=2e-5)


def test_a_run_may_be_called_as_a_shipped_model(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Run("digits").path == Path("digits")
    assert (Run.named("digits").path / "config.json").is_file()


def test_a_later_checkpoint_format_is_refused(run: Path):
    path = run / "checkpoints" / "10" / "manifest.json"
    path.write_text(path.read_text().replace('"format": 3', '"format": 4'))
    with pytest.raises(pj.UserError, match="format 1 to 3, .* has 4; a newer"):
        pj.load(run)


# --- what guards the settings and the manifests


def flips(content: bytes, step: int):
    """The content with one bit flipped: each ``step``-th bit in turn."""
    for bit in range(0, 8 * len(content), step):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


def test_no_flipped_bit_of_a_config_changes_a_setting(run: Path):
    path = run / "config.json"
    settings = Run(run).config()
    for flipped in flips(path.read_bytes(), 61):
        path.write_bytes(flipped)
        with contextlib.suppress(pj.UserError):
            assert Run(run).config() == settings


def test_no_flipped_bit_of_a_manifest_changes_what_is_best(run: Path):
    path = run / "checkpoints" / "10" / "manifest.json"
    kept, manifest = Run(run).checkpoints, manifests.read(path.parent)
    for flipped in flips(path.read_bytes(), 101):
        path.write_bytes(flipped)
        with contextlib.suppress(pj.UserError):
            assert kept.choose("best") == 10
            assert manifests.read(path.parent) == manifest
    assert kept.choose("latest") == 30


def test_a_damaged_manifest_says_so_and_is_not_pruned(run: Path):
    kept, path = Run(run).checkpoints, run / "checkpoints" / "20" / "manifest.json"
    path.write_text(path.read_text().replace("3.0", "0.1"))
    with pytest.raises(pj.UserError, match="step 20 in .* is damaged; restore it"):
        pj.load(run)
    for step in (40, 50):
        kept.save(step, {"params": {"w": np.ones(2)}}, None)
    assert kept.steps() == [10, 20, 40, 50]


def test_settings_of_another_run_are_noticed(run: Path):
    kept = Run(run)
    settings = kept.config()
    kept.save(40, {"params": to_params(tiny_model())[1]}, 0.5, settings)
    assert equal(pj.load(run), tiny_model())
    more = with_training(settings, epochs=999)
    kept.write_config(more)
    assert equal(pj.load(run), tiny_model())  # may change
    taller = dataclasses.replace(settings.model, height=9)
    kept.write_config(dataclasses.replace(settings, model=taller))
    with pytest.raises(pj.UserError, match="config.json beside it has others"):
        pj.load(run)


def test_a_config_may_be_edited_on_purpose(run: Path):
    path = run / "config.json"
    text = path.read_text()
    path.write_text(text.replace('"height": 6', '"height": 9'))
    with pytest.raises(pj.UserError, match="edited on purpose, delete the line of sha"):
        pj.load(run)
    path.write_text(unguarded(text).replace('"height": 6', '"height": 9'))
    assert pj.load(run).config.height == 9
    path.write_text(unguarded(text).replace('"features": 8', '"features": 16'))
    with pytest.raises(pj.UserError, match="must have the parameters"):
        pj.load(run)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        {"format": 2.0},
        {"format": None},
        {"format": 3},
        {"bits_per_dim": "1"},
        {"bits_per_dim": [1]},
        {"sha256": []},
        {"sha256": {"a": 1}},
        {"sha256": {"../../a": "1"}},
        {"sha256": {"/etc/passwd": "1"}},
        {"sha256": {"a\0b": "1"}},
        {"sha256": {"\ud800": "1"}},
        {"sizes": {"a\0b": 1}},
        {"bits_per_dim": 10**400},
        {"more": 1},
        {"sizes": "0"},
        {"sizes": {"a": "0"}},
        {"config": 3},
    ],
)
def test_a_manifest_of_wrong_types_is_no_manifest(fields, tmp_path: Path):
    right = {"format": 2, "bits_per_dim": 1.0, "sha256": {}}
    changed = {**right, **fields} if fields else fields
    (tmp_path / "manifest.json").write_text(json.dumps(changed))
    assert manifests.read(tmp_path) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"bits_per_dim": 10**400},
        {"sha256": {"a\0b": "1"}},
        {"sha256": {"\ud800": "1"}},
    ],
)
def test_a_manifest_without_a_guard_is_damaged_in_one_line(fields, run: Path):
    path = run / "checkpoints" / "10" / "manifest.json"
    found = json.loads(path.read_text())
    del found["checksum"]
    path.write_text(json.dumps({**found, "format": 2, **fields}))
    with pytest.raises(pj.UserError, match="step 10 in .* is damaged; restore it"):
        pj.load(run)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"levels": 4', '"levels": 8.0'),
        ('"height": 6', '"height": 8.5'),
        ('"height": 6', '"height": true'),
        ('"features": 8', '"features": Infinity'),
        ('"features": 8', f'"features": {"9" * 5000}'),
        ('"features": 8', f'"features": {"[" * 5000}{"]" * 5000}'),
        ('"seed": 0', '"seed": [0]'),
        ('"dropout": 0.0', '"dropout": null'),
        ('"source": "digits"', '"source": {}'),
    ],
)
def test_settings_of_wrong_types_are_refused(old: str, new: str):
    settings = config.Config(model=pj.PixelCNNConfig.tiny())
    text = unguarded(config.to_json(settings))
    assert old in text
    with pytest.raises(pj.UserError) as refusal:
        config.from_json(text.replace(old, new))
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 300


def test_what_is_no_regular_file_is_not_read(run: Path):
    largest = largest_file(run / "checkpoints" / "30")
    largest.unlink()
    os.mkfifo(largest)
    assert "is no file" in damage(run / "checkpoints" / "30")
    largest.unlink()
    with open(largest, "wb") as file:
        file.truncate(2**40)  # a hole, which takes no place
    assert "differs" in damage(run / "checkpoints" / "30")
    (run / "config.json").unlink()
    (run / "config.json").symlink_to("/dev/zero")
    with pytest.raises(pj.UserError, match="must hold config.json"):
        pj.load(run)


# --- runs that 0.1.0 wrote (its parameters are converted by models/legacy.py)

DATA = Path(__file__).parent / "data"
OLD = ("pixelcnn", "gated")


@pytest.fixture(params=OLD)
def old_run(request, tmp_path: Path) -> tuple[Path, str]:
    """A copy of a run with EMA weights and classes, after its first of epochs."""
    folder = tmp_path / "old"
    shutil.copytree(DATA / f"run_0_1_0_{request.param}", folder)
    return folder, request.param


def test_old_runs_have_the_likelihoods_they_had(old_run: tuple[Path, str]):
    folder, name = old_run
    known = np.load(DATA / "run_0_1_0.npz")
    images = known["images"].astype(np.int32)
    found = pj.log_prob(pj.load(folder), images, known["labels"])
    np.testing.assert_allclose(found, known[name], rtol=1e-6)


def test_old_runs_are_sampled_and_evaluated(old_run: tuple[Path, str]):
    folder, _ = old_run
    settings, model = Run(folder).config(), pj.load(folder)
    drawn = pj.sample(model, jax.random.key(0), 20, labels=np.arange(20) % 10)
    assert drawn.shape == (20, 5, 6, 1) and len(np.unique(drawn)) == 4
    held_out = data.load(settings.data, settings.model).validation
    found = likelihood.evaluate(model, held_out.images, held_out.labels)
    saved = Run(folder).rows()[0].validation_bits_per_dim
    assert found.bits_per_dim == pytest.approx(saved, abs=1e-6)


@pytest.mark.slow
def test_old_runs_go_on(old_run: tuple[Path, str]):
    folder, _ = old_run
    first = Run(folder).rows()[0]
    settings = dataclasses.replace(Run(folder).config(), workdir=str(folder))
    pj.train(with_training(settings, epochs=3))
    rows = Run(folder).rows()
    assert rows[0] == first and [row.epoch for row in rows] == [1, 2, 3]
    assert rows[-1].validation_bits_per_dim < first.validation_bits_per_dim
    assert '"format": 2' in (folder / "config.json").read_text()
    assert Run(folder).checkpoints.steps() == [10, 15]
    pj.load(folder)
