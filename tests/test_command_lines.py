"""train.py, sample.py and evaluate.py do their work, and say what is wrong."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import evaluate
import pixelcnn_jax as pj
import sample
import train
from pixelcnn_jax import checkpoints, cli
from tests.conftest import with_training

ROOT = Path(__file__).parents[1]
TINY = (
    "--model.height 5 --model.width 6 --model.features 8 --model.num-blocks 1"
    " --data.validation-images 1300 --training.batch-size 48 --training.epochs 1"
).split()


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command line in a process of its own, as a user runs it."""
    command = [sys.executable, str(ROOT / program), *arguments]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment,
        stdin=subprocess.DEVNULL,
    )


def refused(program, arguments: list[str], capsys, monkeypatch) -> str:
    """The error line of a command line that must end with status 2, in this process."""
    monkeypatch.setattr(sys, "argv", [program.__name__, *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main(program.main)
    assert end.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


def test_train_sample_and_evaluate_run_end_to_end(tmp_path: Path):
    folder = tmp_path / "run"
    trained = run("train.py", "digits", *TINY, "--workdir", str(folder))
    assert trained.returncode == 0, trained.stderr
    assert "epoch   1  train" in trained.stdout and "bits/dim" in trained.stdout
    again = run("train.py", "digits", *TINY, "--workdir", str(folder))
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


def test_sample_draws_from_the_shipped_model_without_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sample.main(["--num-images", "9"])
    assert Image.open("samples.png").size[0] > 300


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_sample_writes_the_levels_as_integers(tmp_path: Path, suffix: str):
    output = str(tmp_path / f"out{suffix}")
    sample.main(["--num-images", "3", "--seed", "5", "--output", output])
    loaded = np.load(output, allow_pickle=False)
    images = loaded if suffix == ".npy" else loaded["images"]
    import jax

    assert (images == pj.sample(pj.load("digits"), jax.random.key(5), 3)).all()
    assert images.dtype == np.int32 and images.shape == (3, 16, 16, 1)


def test_samples_do_not_depend_on_the_batch_size(tmp_path: Path):
    drawn = []
    for batch_size in ("2", "5"):
        output = str(tmp_path / "out.npy")
        arguments = ["--num-images", "5", "--batch-size", batch_size]
        sample.main([*arguments, "--output", output])
        drawn.append(np.load(output))
    assert (drawn[0] == drawn[1]).all()


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
    assert sample.classes(text, 6, 10).tolist() == expected


@pytest.mark.parametrize(
    "text", ["10", "a", "", "3-1", "0-10", "1,", "-1", "3,5-3", "0-99999999999"]
)
def test_labels_that_name_no_class_are_refused(text: str):
    with pytest.raises(pj.UserError, match="must be classes from 0 to 9"):
        sample.classes(text, 6, 10)


def test_a_model_with_classes_runs_end_to_end(tmp_path: Path, capsys):
    folder, output = tmp_path / "run", tmp_path / "out.npz"
    tiny = "--model.features 6 --model.num-layers 1 --model.head-features 6".split()
    size = "--model.height 5 --model.width 6".split()
    rest = "--data.validation-images 1300 --training.batch-size 48".split()
    epochs = ["--training.epochs", "1", "--workdir", str(folder)]
    train.main(["digits-gated", *tiny, *size, *rest, *epochs])
    config = checkpoints.read_config(folder)
    assert isinstance(config.model, pj.GatedPixelCNNConfig)
    sample.main(["--workdir", str(folder), "--output", str(output), "--labels", "0,7"])
    drawn = np.load(output)
    assert drawn["labels"].tolist() == [0, 7] * 32
    sample.main(["--workdir", str(folder), "--output", str(tmp_path / "out.png")])
    capsys.readouterr()
    evaluate.main(["--workdir", str(folder)])
    shown = capsys.readouterr().out
    assert "bits/dim  (given the class)" in shown
    assert "bits/dim  (the class not known)" in shown


def test_evaluate_reads_the_data_from_elsewhere(capsys):
    evaluate.main(["--split", "validation", "--data-dir", "."])
    assert "digits validation: 200 images" in capsys.readouterr().out


@pytest.mark.parametrize("program", ["train.py", "sample.py", "evaluate.py"])
def test_help_documents_every_flag(program: str):
    shown = run(program, "--help")
    assert shown.returncode == 0
    flags = [line for line in shown.stdout.splitlines() if line.startswith("│ --")]
    assert len(flags) >= 5
    assert shown.stdout.count("(default:") >= len(flags)
    if program == "train.py":
        assert "fashion-mnist" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["digts"],
            "got digts; did you mean digits",
        ),
        (
            ["--training.epoch", "3"],
            "--training.epoch, 3; perhaps you meant --training.epochs",
        ),
        (["digits", "extra"], "Unrecognized options: extra"),
        (["--training.epochs", "many"], "'many'"),
        (["--model.levels", "1"], "model.levels must be at least 2, got 1; try 2"),
        (["--model.kernel-size", "4"], "odd and at least 1, got 4; try 5"),
        (["--model.features", "9"], "the nearest valid value is 8"),
        (
            ["--training.batch-size", "0"],
            "training.batch_size must be at least 1, got 0",
        ),
        (["--training.batch-size", "1301"], "training images, 1300, got 1301"),
        (["--seed", "-1"], "error: seed must be at least 0 and below 2**32, got -1"),
        (["--model.first-kernel-size", "1"], "odd and at least 3, got 1; try 3"),
        (["--training.ema-decay", "1"], "below 1, got 1.0; try 0.999"),
        (["--training.clip-norm", "0"], "clip_norm must be positive, got 0.0; try 1"),
        (["--training.weight-decay", "-1"], "weight_decay must be at least 0, got -1"),
        (["--model.dropout", "1"], "below 1, got 1.0; try 0"),
        (["--model.num-classes", "3"], "pass --model.num-classes 10"),
        (["--data.quantization", "dynamic"], "pass --model.levels 2"),
        (["--workdir", "~nobody-of-that-name/x"], "can be written, got ~nobody"),
        (["--training.learning-rate", "-1"], "must be positive, got -1.0"),
        (["--training.learning-rate", "nan"], "must be positive, got nan"),
        (["--data.validation-images", "1500"], "fewer than 1500, got 1500"),
        (["mnist", "--data.data-dir", "no/such"], "existing folder, got no/such"),
    ],
)
def test_train_refuses(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused(train, arguments, capsys, monkeypatch)
    # The right command that follows must not meet the wrong one's settings.
    assert not list(tmp_path.rglob("config.json"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--temperature", "-0.1"], "at least 0, got -0.1"),
        (["--temperature", "nan"], "at least 0, got nan"),
        (["--temperature", "warm"], "'warm'"),
        (["--num-images", "0"], "--num-images must be at least 1, got 0"),
        (["--batch-size", "0"], "batch_size must be at least 1, got 0"),
        (["--method", "fast"], "'fast'"),
        (["--seed", "-1"], "--seed must be at least 0 and below 2**32, got -1"),
        (["--workdir", "~nobody-of-that-name/x"], "got ~nobody-of-that-name/x"),
        (["--labels", "3"], "--labels needs a model with classes, got 3"),
        (["--output", "x.jpg"], "end in .png, .npy or .npz, got x.jpg"),
        (["--output", "no/such/x.png"], "in an existing folder, got no/such/x.png"),
        (["--workdir", "no/such"], "must hold config.json, and no/such does not"),
    ],
)
def test_sample_refuses(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused(sample, arguments, capsys, monkeypatch)
    assert not list(tmp_path.iterdir())


def test_evaluate_refuses_a_split_without_images(tmp_path, capsys, monkeypatch):
    arguments = ["--split", "dev"]
    assert "'dev'" in refused(evaluate, arguments, capsys, monkeypatch)
    arguments = ["--batch-size", "0"]
    assert "at least 1, got 0" in refused(evaluate, arguments, capsys, monkeypatch)


# --- the run's folder


def train_arguments(config: pj.Config) -> list[str]:
    return ["digits", *TINY, "--workdir", config.workdir]


def test_a_workdir_that_is_a_file_is_refused(tiny_config, capsys, monkeypatch):
    Path(tiny_config.workdir).write_text("mine")
    arguments = train_arguments(tiny_config)
    assert "must be a folder" in refused(train, arguments, capsys, monkeypatch)
    assert Path(tiny_config.workdir).read_text() == "mine"


def test_a_workdir_that_cannot_be_written_is_refused(tmp_path, capsys, monkeypatch):
    # A folder below a file: no user, not even root, can make one.
    (tmp_path / "file").write_text("")
    arguments = ["--workdir", str(tmp_path / "file" / "run")]
    assert "can be written" in refused(train, arguments, capsys, monkeypatch)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_workdir_is_refused(tmp_path, capsys, monkeypatch):
    tmp_path.chmod(0o500)
    arguments = ["--workdir", str(tmp_path / "run")]
    assert "can be written" in refused(train, arguments, capsys, monkeypatch)


def test_a_workdir_in_use_is_refused(tiny_config, capsys, monkeypatch):
    from pixelcnn_jax.training.runs import RunFolder

    with RunFolder(tiny_config):
        line = refused(train, train_arguments(tiny_config), capsys, monkeypatch)
    assert "only one process may train" in line


def test_a_workdir_of_another_configuration_is_refused(
    tiny_config, capsys, monkeypatch
):
    folder = pj.train(with_training(tiny_config, epochs=2))
    before = checkpoints.steps(folder)
    arguments = [*train_arguments(tiny_config), "--seed", "1"]
    line = refused(train, arguments, capsys, monkeypatch)
    assert "seed 0 (now 1)" in line
    assert "training.epochs 2, which may only grow (now 1)" in line
    assert "model.num_blocks 2 (now 1)" in line
    assert checkpoints.steps(folder) == before


def test_a_damaged_checkpoint_is_refused_and_the_good_one_named(
    tiny_config, capsys, monkeypatch
):
    folder = pj.train(tiny_config)
    last, good = checkpoints.steps(folder)[-1], checkpoints.steps(folder)[-2]
    broken = folder / "checkpoints" / str(last)
    files = [p for p in (broken / "training").rglob("*") if p.is_file()]
    max(files, key=lambda p: p.stat().st_size).write_bytes(b"")
    config = with_training(tiny_config, epochs=3)
    flat = pj.config.flatten(config)
    arguments = [
        f"--{name}={value}" for name, value in flat.items() if value is not None
    ]
    line = refused(train, arguments, capsys, monkeypatch)
    assert f"the checkpoint of step {good} is good: delete {broken}" in line
    arguments = ["--workdir", str(folder), "--checkpoint", "latest"]
    line = refused(sample, arguments, capsys, monkeypatch)
    assert f"the checkpoint of step {good} is good" in line


def test_a_folder_without_a_checkpoint_is_refused(tmp_path, capsys, monkeypatch):
    text = pj.config.to_json(dataclasses.replace(pj.preset("digits")))
    checkpoints.write_text(tmp_path / "config.json", text)
    arguments = ["--workdir", str(tmp_path)]
    line = refused(sample, arguments, capsys, monkeypatch)
    assert "must hold a checkpoint" in line


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_process_killed_at_any_time_resumes_exactly(tmp_path: Path):
    """SIGKILL, which no program can catch, at several moments of a run."""
    import signal
    import time

    settings = [*TINY, "--training.epochs", "6", "--training.batch-size", "4"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run("train.py", "digits", *settings, "--workdir", str(whole)).returncode == 0
    command = [
        sys.executable,
        "train.py",
        "digits",
        *settings,
        "--workdir",
        str(killed),
    ]
    for rows in (1, 3, 4):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        metrics = killed / "metrics.csv"
        for _ in range(3000):  # until the run has written that many epochs
            if metrics.exists() and len(metrics.read_text().splitlines()) > rows:
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (
        run("train.py", "digits", *settings, "--workdir", str(killed)).returncode == 0
    )
    from tests.test_training import assert_same_end

    # This process has two devices; only stored bits are compared.
    assert_same_end(killed, whole)
