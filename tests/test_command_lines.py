"""The commands do their work, and say in one line what is wrong."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest
from PIL import Image

import pixelcnn_jax as pj
from pixelcnn_jax import keys
from pixelcnn_jax.commands import evaluate, flags, main, sample, train
from pixelcnn_jax.commands.main import COMMANDS, overview, run_command
from pixelcnn_jax.runs import Run, shipped_models
from pixelcnn_jax.training.stopping import Stopped
from tests.conftest import refused, slowly
from tests.test_jax_settings import jax_set

ROOT = Path(__file__).parents[1]
TINY = (
    "--model.height 5 --model.width 6 --model.features 8 --model.num-blocks 1"
    " --data.validation-images 1300 --training.batch-size 48 --training.epochs 1"
).split()


def run(
    *arguments: str, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A command line in a process of its own, as a user runs it."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_train_sample_and_evaluate_run_end_to_end(tmp_path: Path):
    folder = tmp_path / "run"
    command = ("train.py", "digits", *TINY, "--workdir", str(folder))
    trained = run(*command)
    assert trained.returncode == 0, trained.stderr
    assert "epoch   1  train" in trained.stdout and "bits/dim" in trained.stdout
    again = run(*command)
    assert again.returncode == 0 and "is finished: 1 epochs" in again.stdout

    output = tmp_path / "grid.png"
    drawn = run("sample.py", "--workdir", str(folder), "--output", str(output))
    assert drawn.returncode == 0, drawn.stderr
    assert "64 images" in drawn.stdout
    assert Image.open(output).size[0] > 300

    found = run("evaluate.py", "--workdir", str(folder), "--split", "test")
    assert found.returncode == 0, found.stderr
    assert "297 images" in found.stdout
    assert "nats/image" in found.stdout and "bits/dim" in found.stdout


def test_a_model_with_classes_runs_end_to_end(tmp_path: Path, capsys):
    folder, output = tmp_path / "run", tmp_path / "out.npz"
    tiny = "--model.features 6 --model.num-layers 1 --model.head-features 6".split()
    size = "--model.height 5 --model.width 6".split()
    rest = "--data.validation-images 1300 --training.batch-size 48".split()
    epochs = ["--training.epochs", "1", "--workdir", str(folder)]
    train.run(["digits-gated", *tiny, *size, *rest, *epochs], "train")
    assert isinstance(Run(folder).config().model, pj.GatedPixelCNNConfig)
    place = ["--workdir", str(folder), "--output"]
    sample.run([*place, str(output), "--labels", "0,7"], "sample")
    assert np.load(output)["labels"].tolist() == [0, 7] * 32
    sample.run([*place, str(tmp_path / "out.png")], "sample")
    capsys.readouterr()
    evaluate.run(["--workdir", str(folder)], "evaluate")
    shown = capsys.readouterr().out
    assert "bits/dim  (given the class)" in shown
    assert "bits/dim  (the class not known)" in shown


# --- sample, evaluate


def test_sample_draws_from_the_shipped_model_without_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sample.run(["--num-images", "9"], "sample")
    assert Image.open("samples.png").size[0] > 300


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_sample_writes_the_levels_as_integers(tmp_path: Path, suffix: str):
    output = str(tmp_path / f"out{suffix}")
    sample.run(["--num-images", "3", "--seed", "5", "--output", output], "sample")
    loaded = np.load(output, allow_pickle=False)
    images = loaded if suffix == ".npy" else loaded["images"]
    assert (images == pj.sample(pj.load("digits"), jax.random.key(5), 3)).all()
    assert images.dtype == np.int32 and images.shape == (3, 16, 16, 1)


@pytest.mark.parametrize(
    ("place", "job"),
    [
        ("stream", ["--num-images", "2"]),
        ("completion.complete", ["--complete", "IMAGES", "--known-rows", "2"]),
        ("load_sampler", ["--sampler", "x"]),
    ],
)
def test_a_seed_means_the_same_under_other_settings_of_jax(
    place: str, job: list[str], plain: Path, image_file: Path, tmp_path, monkeypatch
):
    seen = []

    def draw(*given, **_):
        seen.extend(x for x in given if isinstance(x, jax.Array))
        raise pj.UserError("seen")

    draws = draw
    if place == "load_sampler":
        sampler = mock.Mock(side_effect=draw)
        sampler.header = mock.Mock(num_images=1, num_classes=0)
        sampler.header.configure_mock(condition_features=0, condition_map=(0, 0, 0))

        def draws(_):
            return sampler

    monkeypatch.setattr(f"pixelcnn_jax.commands.sample_jobs.{place}", draws)
    where = [] if "--sampler" in job else ["--workdir", str(plain)]
    job = [str(image_file) if x == "IMAGES" else x for x in job]
    output = ["--seed", "5", "--output", str(tmp_path / "out.npy")]
    with jax_set("jax_default_prng_impl"), pytest.raises(pj.UserError, match="seen"):
        sample.run([*where, *job, *output], "sample")
    assert [str(key) for key in seen] == [str(keys.root(5))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, [0, 1, 2, 3, 4, 5]),
        ("3", [3] * 6),
        ("2-4", [2, 3, 4, 2, 3, 4]),
        ("1,4", [1, 4, 1, 4, 1, 4]),
        ("9,0-1", [9, 0, 1, 9, 0, 1]),
    ],
)
def test_labels_name_classes_in_turn(text: str | None, expected: list[int]):
    found = sample.parse_labels(text, 6, 10)
    assert found is not None and found.tolist() == expected


@pytest.mark.parametrize(
    "text", ["10", "a", "", "3-1", "0-10", "1,", "-1", "3,5-3", "0-99999999999"]
)
def test_labels_that_name_no_class_are_refused(text: str):
    with pytest.raises(pj.UserError, match="must be classes from 0 to 9"):
        sample.parse_labels(text, 6, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-images", "0"], "--num-images must be an integer of at least 1"),
        (["--num-images", "2147483648", "--output", "many/"], "and below 2**31, got 2"),
        (["--batch-size", "0"], "--batch-size must be an integer of at least 1"),
        (["--seed", "-1"], "--seed must be at least 0 and below 2**32, got -1"),
        (
            ["--num-images", "1000000000", "--output", "a.npy"],
            "1000000000 images in one file must fit in memory",
        ),
        (["--labels", "3"], "--labels need a model with classes, got 3"),
        (["--output", "x.jpg"], "--output must end in .png, .npy or .npz, got x.jpg"),
        (["--output", "no/such/x.png"], "in an existing folder, got no/such/x.png"),
        (["--workdir", "no/such"], "pass the --workdir of a training run"),
        (["--workdir", "~nobody-of-that-name/x"], "--workdir must be a folder, got ~n"),
        (["--method", "fast"], "'fast'"),
        (["--seed", "x"], "error: --seed must be a whole number, got x; see sample"),
        (["--batch-size=1.5"], "error: --batch-size must be a whole number, got 1.5;"),
        (["--num-images", "abc"], "--num-images must be a whole number, got abc;"),
        (["--output", ""], "error: --output must not be empty, got ''; leave it out"),
        (["--sampler="], "error: --sampler must not be empty, got ''"),
        (["--temperature", "x"], "error: --temperature must be a number, got x; see"),
    ],
)
def test_sample_refuses(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused("sample", arguments, capsys)
    assert not list(tmp_path.iterdir())


def test_samples_that_cannot_be_written_leave_the_old_ones(
    tmp_path: Path, capsys, monkeypatch
):
    output = tmp_path / "x.npy"
    output.write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    arguments = ["--num-images", "1", "--output", str(output)]
    assert "x.npy could not be written: No space" in refused(
        "sample", arguments, capsys
    )
    assert output.read_text() == "old"


def test_a_folder_that_a_set_does_not_need_is_refused(capsys):
    line = refused("evaluate", ["--split", "validation", "--data-dir", "."], capsys)
    assert "error: --data-dir must be left out for digits, which ship with" in line


def test_evaluate_names_its_own_flags(tmp_path: Path, capsys):
    settings = pj.preset("mnist")
    run = Run(tmp_path)
    run.write_config(settings)
    from pixelcnn_jax.params import to_params

    params = to_params(pj.build_model(settings.model))[1]
    run.checkpoints.save(1, {"params": params}, None)
    arguments = ["--workdir", str(tmp_path), "--data-dir", str(tmp_path / "none")]
    line = refused("evaluate", arguments, capsys)
    assert "error: --data-dir must be an existing folder, got" in line
    assert "'dev'" in refused("evaluate", ["--split", "dev"], capsys)


# --- train


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digts"], "got digts; did you mean digits"),
        (["--training.epoch", "3"], "perhaps you meant --training.epochs"),
        (["digits", "extra"], "Unrecognized options: extra"),
        (
            [*TINY, "--workdir", ""],
            "error: --workdir must not be empty, got ''; leave it out",
        ),
        (
            [*TINY, "--data.source", "images", "--data.path="],
            "--data.path must not be empty",
        ),
        (["--training.epochs", "1e3"], "epochs must be a whole number, got 1e3; see"),
        (["--data.threshold", "x"], "error: --data.threshold must be a number, got x;"),
        (
            ["--training.clip_norm", "1", "--training.clip_norm", "x"],
            "error: --training.clip-norm must be a number, got x;",
        ),
        (["--model.levels", "1"], "error: --model.levels must be at least 2, got 1"),
        (["--seed", "-1"], "error: --seed must be at least 0 and below 2**32, got -1"),
        (["--data.quantization", "dynamic"], "set --model.levels to 2"),
        (["--workdir", "~nobody-of-that-name/x"], "pass another --workdir"),
        (["--training.batch-size", "1301"], "training images, 1300, got 1301"),
        ([*TINY, "--training.init-from", "no/x"], "error: --training.init-from must"),
        (
            ["--training.mutation", "1"],
            "--training.mutation must be at least 0 and below",
        ),
    ],
)
def test_train_refuses(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused("train", arguments, capsys)
    # The right command that follows must not meet the wrong one's settings.
    assert not list(tmp_path.rglob("config.json"))


def test_fields_become_flags_and_other_words_do_not():
    names = train.COMMAND.flags
    for message, shown in (
        ("model.levels is one", "--model.levels is one"),
        ("seed must be; pass a seed", "--seed must be; pass a seed"),
        ("pass another workdir", "pass another --workdir"),
        ("got runs/workdir/x", "got runs/workdir/x"),
        ("lower training.learning_rate.", "lower --training.learning-rate."),
        ("my.training.epochs", "my.training.epochs"),
        ("model.num_classes to 0", "--model.num-classes to 0"),
    ):
        assert flags.name_flags(message, names) == shown


@pytest.mark.parametrize("kind", ["model.num_blocks", "model.num_layers"])
def test_every_setting_of_every_model_has_its_flag(kind: str):
    assert kind in train.COMMAND.flags


# --- the folder of a run


def test_a_workdir_that_is_a_file_is_refused(tmp_path: Path, capsys):
    (tmp_path / "run").write_text("mine")
    for workdir in (tmp_path / "run", tmp_path / "run" / "below"):
        line = refused("train", [*TINY, "--workdir", str(workdir)], capsys)
        assert "error: --workdir must be a folder that can be written" in line
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_workdir_is_refused(tmp_path, capsys):
    tmp_path.chmod(0o500)
    arguments = ["--workdir", str(tmp_path / "run")]
    assert "can be written" in refused("train", arguments, capsys)


def test_a_workdir_in_use_is_refused(tiny_config: pj.Config, capsys):
    with Run(tiny_config.workdir).hold(tiny_config):
        arguments = [*TINY, "--workdir", tiny_config.workdir]
        line = refused("train", arguments, capsys)
    assert "only one process may train" in line and "another --workdir" in line


def test_a_workdir_of_another_configuration_is_refused(tiny_config: pj.Config, capsys):
    run = Run(tiny_config.workdir)
    with run.hold(tiny_config):
        run.write_config(tiny_config)
        run.checkpoints.save(1, {"params": {"w": np.ones(2)}}, None)
    arguments = [*TINY, "--workdir", tiny_config.workdir, "--seed", "1"]
    line = refused("train", arguments, capsys)
    assert "seed 0 (now 1)" in line
    assert "--training.epochs 2, which may only grow (now 1)" in line
    assert "--model.num-blocks 2 (now 1)" in line
    assert run.checkpoints.steps() == [1]


# --- how a command ends


@pytest.mark.parametrize(
    "command", ["train", *slowly(*(c for c in COMMANDS if c != "train"))]
)
def test_help_documents_every_flag(command: str):
    shown = run("-m", "pixelcnn_jax", command, "--help")
    assert shown.returncode == 0, shown.stderr
    lines = [line for line in shown.stdout.splitlines() if line.startswith("│ --")]
    assert len(lines) >= 2
    assert shown.stdout.count("(default:") >= len(lines)
    texts = shown.stdout.splitlines()
    for above, below in itertools.pairwise(texts):
        if above.startswith("│  ") and below.startswith("│  "):
            # A line ends where its box does, not where the source's did.
            room = len(above) - len(above.rstrip(" │"))
            assert room <= len(below.split()[1]) + len(" ") + len(" │"), above
    presets = [name for name in pj.config.PRESETS if name in shown.stdout]
    assert (presets == list(pj.config.PRESETS)) == (command == "train")
    text = " ".join(shown.stdout.replace("│", " ").split())
    takes_them = "a model that ships with the package:" in text
    assert takes_them == (f"the package: {', '.join(shipped_models())}." in text)
    assert takes_them == (command not in ("train", "publish"))


def test_help_of_export_says_what_a_sampler_must_be_given(capsys):
    with pytest.raises(SystemExit):
        COMMANDS["export"].run(["--help"], "export")
    shown = " ".join(capsys.readouterr().out.replace("\u2502", " ").split())
    assert "must be given all classes and conditions that the model takes" in shown


def test_the_overview_lists_commands_and_presets(capsys, monkeypatch):
    shown = overview()
    for name in (*COMMANDS, *pj.config.PRESETS):
        assert f"\n  {name} " in shown
    for arguments in ([], ["--help"]):
        monkeypatch.setattr(sys, "argv", ["pixelcnn-jax", *arguments])
        main.main()
        assert capsys.readouterr().out.strip() == shown


def test_an_unknown_command_is_refused(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pixelcnn-jax", "trian"])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 2
    line = capsys.readouterr().err
    assert f"one of {', '.join(COMMANDS)}, got trian" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), 130),
        (Stopped("saved at step 3", signal.SIGINT), 130),
        (Stopped("saved at step 3", signal.SIGTERM), 143),
    ],
)
def test_a_stopped_command_ends_with_its_signal(error, status: int, capsys):
    def stop(*_):
        raise error

    with pytest.raises(SystemExit) as end:
        run_command(train.COMMAND._replace(run=stop), [], "train")
    assert end.value.code == status
    shown = capsys.readouterr().err
    assert ("(saved at step 3); the same command goes on" in shown) == bool(error.args)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_output_costs_no_training(tmp_path: Path):
    command = [sys.executable, "train.py", *TINY, "--workdir", str(tmp_path / "run")]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, env=environment
        )
    assert ended.returncode == 0, ended.stderr
    assert Run(tmp_path / "run").checkpoints.steps() == [5]


@pytest.mark.slow
def test_an_installed_package_has_the_commands(tmp_path: Path):
    """A wheel, unpacked elsewhere, and started from elsewhere."""
    if int(version("setuptools").split(".")[0]) < 77:
        pytest.skip("pyproject.toml needs setuptools 77")
    source = tmp_path / "source"
    shutil.copytree(ROOT / "pixelcnn_jax", source / "pixelcnn_jax")
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    arguments = "wheel . --no-deps --no-build-isolation --quiet -w".split()
    built = run("-m", "pip", *arguments, str(tmp_path), cwd=source)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (scripts,) = site.glob("*.dist-info/entry_points.txt")
    assert "pixelcnn-jax = pixelcnn_jax.doors:main" in scripts.read_text()
    module = ("-m", "pixelcnn_jax")
    drawn = run(
        *module, "sample", "--num-images", "4", cwd=elsewhere, PYTHONPATH=str(site)
    )
    assert drawn.returncode == 0, drawn.stderr
    assert Image.open(elsewhere / "samples.png").size[0] > 300
    shown = run(*module, cwd=elsewhere, PYTHONPATH=str(site))
    assert shown.returncode == 0 and shown.stdout.strip() == overview()
