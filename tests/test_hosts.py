"""Several processes do what one does, and none outlives another."""

import json
import os
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import pixelcnn_jax as pj
from pixelcnn_jax import hosts
from pixelcnn_jax.commands import evaluate, lost_peers, train
from pixelcnn_jax.runs import Row, Run
from tests.conftest import refused
from tests.processes import SENT_AHEAD, launch
from tests.test_command_lines import TINY

PROCESSES = int(os.environ.get("PIXELCNN_PROCESSES", "2"))
"""Of a job in these tests; more of them by hand."""


def command(folder: Path, epochs: int) -> list[str]:
    """The arguments of a training whose updates do not depend on its length."""
    length = ["--training.epochs", str(epochs), "--training.schedule", "constant"]
    return ["digits", *TINY, *length, "--workdir", str(folder)]


def assert_same_figures(one: Path, other: Path) -> None:
    def figures(row: Row) -> list[float]:
        return [float(x) for x in row if x is not None]

    rows = [[figures(row) for row in Run(x).rows()] for x in (one, other)]
    np.testing.assert_allclose(*rows, rtol=1e-5)


@pytest.mark.slow
def test_several_processes_do_what_one_does(tmp_path: Path, capsys):
    one, many, ahead = (tmp_path / name for name in ("one", "many", "ahead"))
    train.run(command(one, 2), "train")
    drawn = ["--num-images", "7", "--batch-size", "2", "--workdir", str(many)]
    commands = [
        ("train", command(many, 2)),
        (SENT_AHEAD, command(ahead, 2)),
        ("evaluate", ["--workdir", str(many), "--batch-size", "64"]),
        ("sample", [*drawn, "--output", f"{tmp_path}/images/"]),
        ("sample", [*drawn, "--output", str(tmp_path / "images.npz")]),
    ]
    processes = launch(PROCESSES, "-m", "tests.processes", json.dumps(commands))
    outputs = [process.communicate() for process in processes]
    assert [x.returncode for x in processes] == [0] * PROCESSES, outputs
    for other in (many, ahead):
        assert_same_figures(one, other)
    expected = np.asarray(pj.sample(pj.load(many), jax.random.key(0), 7))
    for name in ("images/images_0000000.npz", "images.npz"):
        assert (np.load(tmp_path / name)["images"] == expected).all()
    capsys.readouterr()
    evaluate.run(["--workdir", str(many)], "evaluate")
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) > 2 and set(shown) <= set(outputs[0][0].splitlines())
    # What several have saved, one goes on with.
    for folder in (one, many):
        train.run(command(folder, 3), "train")
    assert_same_figures(one, many)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("victim", [0, PROCESSES - 1])
def test_when_a_process_dies_the_others_end_and_nothing_is_lost(
    victim: int, tmp_path: Path
):
    folder = tmp_path / "run"
    train.run(command(folder, 1), "train")
    first = Run(folder).rows()
    # What one has saved, several go on with.
    processes = launch(PROCESSES, "train.py", *command(folder, 10**6), "--distributed")
    for _ in range(6000):  # until they have written some epochs
        ended = any(process.poll() is not None for process in processes)
        if ended or len(Run(folder).rows()) > 2:
            break
        time.sleep(0.02)
    processes[victim].send_signal(signal.SIGKILL)
    outputs = [process.communicate() for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode != 0
        if process is not processes[victim]:
            assert errors.splitlines() == [lost_peers.LOST], errors
    rows = Run(folder).rows()
    assert rows[:1] == first and len(rows) > 2
    # The last checkpoint is of the last epoch, or of the one before.
    assert Run(folder).checkpoints.choose("latest") >= rows[-2].step
    pj.load(folder, "latest")


def test_a_launcher_is_known_by_its_environment():
    for several in (
        {"SLURM_STEP_NUM_TASKS": "4"},
        {"OMPI_COMM_WORLD_SIZE": "2"},
        {"JAX_NUM_PROCESSES": "2"},
    ):
        assert hosts.is_launched(several)
    for single in ({}, {"SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_JOB_ID": "7"}):
        assert not hosts.is_launched(single)


def test_processes_that_are_not_named_are_refused(monkeypatch, capsys):
    monkeypatch.delenv("JAX_COORDINATOR_ADDRESS", raising=False)
    line = refused("evaluate", ["--distributed"], capsys)
    assert "several processes must find each other by Slurm" in line
    monkeypatch.setenv("JAX_PROCESS_ID", "one")
    line = refused("train", ["--distributed"], capsys)
    assert "JAX_PROCESS_ID must be a number of at least 0, got one" in line


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("processes", [2, 4])
def test_each_process_computes_a_share_and_has_all(
    count: int, processes: int, monkeypatch
):
    numbers, parts = np.arange(count * 2.0).reshape(count, 2), []
    monkeypatch.setattr(hosts, "are_several", lambda: True)
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    gather = hosts.multihost_utils
    for number in range(processes):
        monkeypatch.setattr(jax, "process_index", lambda number=number: number)
        monkeypatch.setattr(gather, "process_allgather", parts.append)
        with pytest.raises(AttributeError):  # the others are not asked yet
            hosts.divided(count, lambda a, b: numbers[a:b])
    assert {len(part) for part in parts} == {-(-count // processes)}
    monkeypatch.setattr(gather, "process_allgather", lambda _: np.stack(parts))
    assert (hosts.divided(count, lambda a, b: numbers[a:b]) == numbers).all()


def test_the_first_sign_of_a_loss_becomes_one_line():
    lines = [
        "W0000 something else\n",
        "E1125 23:36:50.580884 18118 coordination_service_agent.cc:289] Polled an er\n",
        "*** Check failure stack trace: ***\n",
    ]
    assert list(lost_peers.summarised(lines)) == [lines[0], lost_peers.LOST + "\n"]
    assert list(lost_peers.summarised(lines[:1])) == lines[:1]
    assert not lost_peers.tells_of_loss("RESOURCE_EXHAUSTED: Out of memory")
